"""The linked widget: state in, charts out.

`widget` holds the state, `filters` says what is selected, `parts` fits it, `panels` says what is
drawn, `content` and `table` send it with the words of `labels` to the page in `static`, `export`
saves it, `following` takes newer fits over while they are made.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "content",
        "export",
        "filters",
        "following",
        "labels",
        "panels",
        "parts",
        "python_code",
        "table",
        "widget",
    ],
    submod_attrs={"widget": ["Explorer"]},
)
