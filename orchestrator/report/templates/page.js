"use strict";
const config = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]};
const drawings = [...document.querySelectorAll(".drawing")];
for (const drawing of drawings) {
  const {data, layout} = JSON.parse(drawing.nextElementSibling.textContent);
  Plotly.newPlot(drawing, data, layout, config);
}
const fit = () => drawings.forEach(drawing => Plotly.Plots.resize(drawing));
const folded = document.querySelectorAll("details:not([open])");
addEventListener("beforeprint", () => {
  folded.forEach(one => { one.open = true; }); // paper has nothing to click
  fit();
});
addEventListener("afterprint", () => {
  folded.forEach(one => { one.open = false; });
  fit();
});
