"use strict";
// Draws the plots, and while the page says so looks again: parts that changed are put in place, nothing else moves.
const config = {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]};
const now = document.getElementById("now");
const everyOf = page => Number(page.querySelector("script[data-every-s]").dataset.everyS);
const plotsOf = page => new Map([...page.querySelectorAll(".plots")].map(plot => [plot.dataset.name, plot]));
const dataOf = plot => plot.querySelector("script[type='application/json']");
const idsOf = page => [...page.querySelectorAll("[id].live")].map(part => part.id).join();

function draw(plot) {
  const {data, layout} = JSON.parse(dataOf(plot).textContent);
  Plotly.react(plot.querySelector(".drawing"), data, {...layout, uirevision: "kept"}, config);
}

function take(next) {
  const plots = plotsOf(document), fresh = plotsOf(next);
  if (idsOf(document) !== idsOf(next) || [...plots.keys()].join() !== [...fresh.keys()].join()) {
    location.reload(); // another section has come, or one has gone
    return;
  }
  for (const part of document.querySelectorAll("[id].live")) {
    const changed = next.getElementById(part.id);
    if (part.innerHTML !== changed.innerHTML) part.innerHTML = changed.innerHTML;
  }
  for (const [name, plot] of plots) {
    const text = dataOf(fresh.get(name)).textContent;
    if (dataOf(plot).textContent === text) continue;
    dataOf(plot).textContent = text;
    plot.querySelector("figcaption").textContent = fresh.get(name).querySelector("figcaption").textContent;
    draw(plot);
  }
}

async function look(everyS) {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, {cache: "no-store"});
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.ok && next.querySelector("script[data-every-s]")) {
        take(next);
        everyS = everyOf(next);
      }
      now.textContent = "";
    } catch {
      now.textContent = "The server does not answer; this is as it was.";
    }
  }
  if (everyS) setTimeout(look, 1000 * everyS, everyS);
}

plotsOf(document).forEach(draw);
if (everyOf(document)) setTimeout(look, 1000 * everyOf(document), everyOf(document));
