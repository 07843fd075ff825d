"use strict";
const config = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]};
const drawings = [...document.querySelectorAll(".drawing")];
for (const drawing of drawings) {
  const {data, layout} = JSON.parse(drawing.nextElementSibling.textContent);
  Plotly.newPlot(drawing, data, layout, config);
}
const fit = () => drawings.forEach(drawing => Plotly.Plots.resize(drawing));
addEventListener("beforeprint", fit);
addEventListener("afterprint", fit);
