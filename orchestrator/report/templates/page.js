"use strict";
const config = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]};
const drawings = [...document.querySelectorAll(".drawing")];
for (const drawing of drawings) {
  const {data, layout} = JSON.parse(drawing.nextElementSibling.textContent);
  Plotly.newPlot(drawing, data, layout, config);
}
const folded = document.querySelectorAll("details:not([open])");
// Plots.resize would wait, and paper does not
const fit = width => drawings.forEach(drawing => Plotly.relayout(drawing, {width: width(drawing), autosize: true}));
const paper = is => {
  document.documentElement.classList.toggle("paper", is);
  folded.forEach(one => { one.open = is; }); // paper has nothing to click
};
addEventListener("beforeprint", () => {
  paper(true);
  fit(drawing => drawing.clientWidth);
});
addEventListener("afterprint", () => {
  paper(false);
  fit(() => null); // as wide as there is room, again
});
