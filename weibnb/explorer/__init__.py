"""The linked widget: state in, charts out.

`widget` holds the state and the traits, `filters` what is selected, `panels` what each panel draws,
`export` writes files and pictures, `static/` is the page.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["export", "filters", "panels", "widget"],
    submod_attrs={"widget": ["Explorer", "explore"]},
)
