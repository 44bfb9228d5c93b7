// The explorer on the front page follows the switch between light and dark pages.
const live = document.querySelector("iframe.live");
if (live) {
  const follow = () => {
    const theme = document.body.dataset.mdColorScheme === "slate" ? "dark" : "light";
    live.contentDocument?.documentElement.setAttribute("theme", theme);
  };
  live.addEventListener("load", follow);
  new MutationObserver(follow).observe(document.body, {
    attributes: true,
    attributeFilter: ["data-md-color-scheme"],
  });
}
