/** A map of four cells, one of which stands out. */
export default `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 16 16">
<g class="jp-icon3" fill="#616161"><rect x="1" y="1" width="6" height="6"/><rect x="9" y="9" width="6" height="6"/>
<rect x="1" y="9" width="6" height="6" opacity=".45"/></g><rect x="9" y="1" width="6" height="6" fill="#c26a1b"/></svg>`;
