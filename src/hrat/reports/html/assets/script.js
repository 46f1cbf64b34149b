"use strict";
// The page without this is whole but for the maps; nothing is loaded from anywhere.

// ---- light and dark -------------------------------------------------------------------------------------------------

(() => {
  const root = document.documentElement;
  const stored = () => { try { return localStorage.getItem("hrat-theme"); } catch { return null; } };
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  if (stored()) root.dataset.theme = stored();
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("hrat-theme", root.dataset.theme); } catch { /* a file opened where nothing is stored */ }
  });
})();

// ---- on paper nothing can be unfolded ---------------------------------------------------------------------------------

(() => {
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
})();

// ---- tables sorted by a column --------------------------------------------------------------------------------------

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  if (table.tBodies[0].rows.length < 2) continue;
  const unit = { f: 1e-15, p: 1e-12, n: 1e-9, "µ": 1e-6, u: 1e-6, m: 1e-3, k: 1e3, M: 1e6, G: 1e9 };
  const value = (cell) => {
    const text = cell.textContent.trim().replaceAll(",", "");
    const found = text.match(/^-?[\d.]+(?:e[-+]?\d+)?/);
    if (!found) return text === "∞" ? Infinity : text;
    const prefix = text.slice(found[0].length).match(/^ ([fpnµumkMG])[VJsSW]\b/);
    return Number(found[0]) * (prefix ? unit[prefix[1]] : 1);
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") !== "descending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [value(row.cells[column]), row]);
      const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      rows.sort((a, b) => (down ? order(b[0], a[0]) : order(a[0], b[0])));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

// ---- conductance maps -----------------------------------------------------------------------------------------------

(() => {
  if (!document.getElementById("map-data")) return;  // a page without maps
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const at = (id) => document.getElementById(id);
  const layerBox = at("map-layer"), tileBox = at("map-tile"), whatBox = at("map-what"), partBox = at("map-part");
  const canvas = at("map"), overview = at("map-overview"), scale = at("map-scale"), cellText = at("map-cell");
  const unpacked = new Map();  // identity -> planes; the last few tiles that were looked at
  const state = { layer: 0, tile: 0, zoom: 1, x: 0, y: 0, row: 0, col: 0, planes: null, image: null };

  data.layers.forEach((layer, k) => layerBox.add(new Option(layer.name, String(k))));

  // Colours: stops of viridis, and of a map with white in its middle for what has a sign.
  const stops = (list) => list.map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  const VIRIDIS = stops(["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"]);
  const SIGNED = stops(["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"]);
  const colour = (map, part) => {
    const place = Math.min(Math.max(part, 0), 1) * (map.length - 1), low = Math.min(Math.floor(place), map.length - 2);
    return map[low].map((value, k) => value + (place - low) * (map[low + 1][k] - value));
  };

  // A tile's block becomes four planes: targets of G+ and G-, errors of G+ and G-.
  async function planesOf(layer, tile) {
    if (unpacked.has(tile.id)) return unpacked.get(tile.id);
    const packed = Uint8Array.from(atob(at(tile.id).textContent.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = tile.rows * tile.cols, levels = Float64Array.from(layer.levels);
    const target = (k) => Float64Array.from(bytes.subarray(k * n, (k + 1) * n), (code) => levels[code]);
    const error = (k) => Float64Array.from(new Int8Array(bytes.buffer, k * n, n), (code) => Math.sign(code) * (code / 127) ** 2 * layer.eMax);
    const planes = { target: { pos: target(0), neg: target(1) }, error: { pos: error(2), neg: error(3) } };
    if (unpacked.size > 12) unpacked.delete(unpacked.keys().next().value);
    unpacked.set(tile.id, planes);
    return planes;
  }
  const valueAt = (k, what, part) => {
    const { target, error } = state.planes;
    const one = (sign) => (what === "target" ? target[sign][k] : what === "error" ? error[sign][k] : target[sign][k] + error[sign][k]);
    return part === "pair" ? one("pos") - one("neg") : one(part);
  };
  const range = (layer, what, part) => {
    if (what === "error") return [-Math.min(layer.eMax, layer.eShown), Math.min(layer.eMax, layer.eShown), SIGNED];
    const width = data.gMax - data.gMin;
    return part === "pair" ? [-width, width, SIGNED] : [data.gMin, data.gMax, VIRIDIS];
  };
  const uS = (value, digits = 2) => `${(value * 1e6).toFixed(digits)} µS`;

  function paint() {
    const layer = data.layers[state.layer], tile = layer.tiles[state.tile];
    const what = whatBox.value, part = partBox.value, [low, high, map] = range(layer, what, part);
    const image = new ImageData(tile.cols, tile.rows);
    for (let k = 0; k < tile.rows * tile.cols; k++) {
      const [r, g, b] = colour(map, (valueAt(k, what, part) - low) / ((high - low) || 1));
      image.data.set([r, g, b, 255], 4 * k);
    }
    const whole = new OffscreenCanvas(tile.cols, tile.rows);
    whole.getContext("2d").putImageData(image, 0, 0);
    state.image = whole;
    const ends = what === "error" && layer.eMax > layer.eShown ? ["≤ ", "≥ "] : ["", ""];
    at("map-low").textContent = ends[0] + uS(low, 1);
    at("map-high").textContent = ends[1] + uS(high, 1);
    const bar = scale.getContext("2d");
    for (let x = 0; x < scale.width; x++) {
      bar.fillStyle = `rgb(${colour(map, x / (scale.width - 1)).map(Math.round).join(",")})`;
      bar.fillRect(x, 0, 1, scale.height);
    }
    draw();
  }

  function draw() {
    const tile = data.layers[state.layer].tiles[state.tile];
    // Cells are squares where there is room; a tile of a few lines is drawn wider rather than as a thread.
    const room = Math.max(canvas.parentElement.clientWidth - 2, 200);
    const cell = Math.min(room / tile.cols, 520 / tile.rows, 40);
    const width = Math.round(Math.min(Math.max(cell * tile.cols, 160), room));
    const height = Math.round(Math.max(cell * tile.rows, 60));
    canvas.width = width * devicePixelRatio; canvas.height = height * devicePixelRatio;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    if (!state.image) return;
    const cols = tile.cols / state.zoom, rows = tile.rows / state.zoom;
    state.x = Math.min(Math.max(state.x, 0), tile.cols - cols);
    state.y = Math.min(Math.max(state.y, 0), tile.rows - rows);
    context.drawImage(state.image, state.x, state.y, cols, rows, 0, 0, canvas.width, canvas.height);
    const wide = canvas.width / cols, high = canvas.height / rows;
    const left = (state.col - state.x) * wide, top = (state.row - state.y) * high;
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeStyle = "#fff"; context.strokeRect(left - 2, top - 2, wide + 4, high + 4);
    context.lineWidth = devicePixelRatio;
    context.strokeStyle = "#000"; context.strokeRect(left - 2, top - 2, wide + 4, high + 4);
    const k = state.row * tile.cols + state.col, part = partBox.value;
    const names = { pos: "G+", neg: "G−", pair: "G+ − G−" };
    cellText.textContent = `word line ${tile.row0 + state.row}, bit line ${tile.col0 + state.col}, ${names[part]}: target ` +
      `${uS(valueAt(k, "target", part))}, achieved ${uS(valueAt(k, "achieved", part))}, error ${uS(valueAt(k, "error", part))}`;
  }

  function drawOverview() {
    const layer = data.layers[state.layer], context = overview.getContext("2d");
    const across = Math.ceil(Math.sqrt(layer.tiles.length)), size = overview.width / across;
    const most = Math.max(...layer.tiles.map((tile) => tile.rms)) || 1;
    context.clearRect(0, 0, overview.width, overview.height);
    layer.tiles.forEach((tile, k) => {
      context.fillStyle = tile.id ? `rgb(${colour(VIRIDIS, tile.rms / most).map(Math.round).join(",")})` : "#999";
      context.fillRect((k % across) * size, Math.floor(k / across) * size, Math.max(size - 1, 1), Math.max(size - 1, 1));
    });
    context.strokeStyle = "#d55e00"; context.lineWidth = 2;
    context.strokeRect((state.tile % across) * size + 1, Math.floor(state.tile / across) * size + 1, Math.max(size - 3, 1), Math.max(size - 3, 1));
    overview.dataset.across = across;
  }

  async function show() {
    const layer = data.layers[state.layer], tile = layer.tiles[state.tile];
    tileBox.max = layer.tiles.length; tileBox.value = state.tile + 1;
    at("map-count").textContent = `of ${layer.tiles.length.toLocaleString("en")}: ${tile.name}, rms error ${uS(tile.rms)}`;
    drawOverview();
    state.row = Math.min(state.row, tile.rows - 1); state.col = Math.min(state.col, tile.cols - 1);
    if (!tile.id) {
      state.image = null; draw();
      cellText.textContent = "This tile is not in the page; the tables that hrat inspect --csv writes have it.";
      return;
    }
    const wanted = [state.layer, state.tile];
    const planes = await planesOf(layer, tile);
    if (wanted[0] !== state.layer || wanted[1] !== state.tile) return;  // another one was chosen meanwhile
    state.planes = planes;
    paint();
  }

  const choose = (layer, tile) => { Object.assign(state, { layer, tile, zoom: 1, x: 0, y: 0 }); show(); };
  const zoomTo = (zoom, row = state.row, col = state.col) => {
    const tile = data.layers[state.layer].tiles[state.tile];
    const before = state.zoom;
    state.zoom = Math.min(Math.max(zoom, 1), Math.max(Math.min(tile.rows, tile.cols) / 4, 1));
    // What lies under the pointer, or the marked cell, stays where it is.
    state.x = col + 0.5 - (col + 0.5 - state.x) * before / state.zoom;
    state.y = row + 0.5 - (row + 0.5 - state.y) * before / state.zoom;
    draw();
  };
  const cellUnder = (event) => {
    const tile = data.layers[state.layer].tiles[state.tile], box = canvas.getBoundingClientRect();
    const col = Math.floor(state.x + (event.clientX - box.left) / box.width * tile.cols / state.zoom);
    const row = Math.floor(state.y + (event.clientY - box.top) / box.height * tile.rows / state.zoom);
    return [Math.min(Math.max(row, 0), tile.rows - 1), Math.min(Math.max(col, 0), tile.cols - 1)];
  };

  layerBox.addEventListener("change", () => choose(Number(layerBox.value), 0));
  tileBox.addEventListener("change", () => {
    const n = data.layers[state.layer].tiles.length;
    choose(state.layer, Math.min(Math.max(Math.round(Number(tileBox.value)) || 1, 1), n) - 1);
  });
  for (const box of [whatBox, partBox]) box.addEventListener("change", () => { if (state.image) paint(); });
  at("map-in").addEventListener("click", () => zoomTo(state.zoom * 2));
  at("map-out").addEventListener("click", () => zoomTo(state.zoom / 2));
  at("map-fit").addEventListener("click", () => zoomTo(1));
  at("map-controls").addEventListener("submit", (event) => event.preventDefault());
  overview.addEventListener("click", (event) => {
    const box = overview.getBoundingClientRect(), across = Number(overview.dataset.across);
    const size = box.width / across;
    const tile = Math.floor((event.clientY - box.top) / size) * across + Math.floor((event.clientX - box.left) / size);
    if (tile < data.layers[state.layer].tiles.length) choose(state.layer, tile);
  });
  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => { dragged = [event.clientX, event.clientY, state.x, state.y]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { dragged = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.image) return;
    const tile = data.layers[state.layer].tiles[state.tile], box = canvas.getBoundingClientRect();
    if (dragged && state.zoom > 1) {
      state.x = dragged[2] - (event.clientX - dragged[0]) / box.width * tile.cols / state.zoom;
      state.y = dragged[3] - (event.clientY - dragged[1]) / box.height * tile.rows / state.zoom;
    } else {
      [state.row, state.col] = cellUnder(event);
    }
    draw();
  });
  canvas.addEventListener("wheel", (event) => {
    if (!state.image || !(event.ctrlKey || event.metaKey || document.activeElement === canvas)) return;  // the page scrolls
    event.preventDefault();
    zoomTo(state.zoom * (event.deltaY < 0 ? 1.25 : 0.8), ...cellUnder(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const tile = data.layers[state.layer].tiles[state.tile], far = event.shiftKey ? 10 : 1;
    const moves = { ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far] };
    if (moves[event.key]) {
      state.row = Math.min(Math.max(state.row + moves[event.key][0], 0), tile.rows - 1);
      state.col = Math.min(Math.max(state.col + moves[event.key][1], 0), tile.cols - 1);
      const cols = tile.cols / state.zoom, rows = tile.rows / state.zoom;  // the view follows
      state.x = Math.min(Math.max(state.x, state.col + 1 - cols), state.col);
      state.y = Math.min(Math.max(state.y, state.row + 1 - rows), state.row);
      draw();
    } else if (event.key === "+" || event.key === "=") zoomTo(state.zoom * 2);
    else if (event.key === "-") zoomTo(state.zoom / 2);
    else if (event.key === "Home") zoomTo(1);
    else return;
    event.preventDefault();
  });
  addEventListener("resize", () => { if (state.image) draw(); });
  if (data.layers.length) choose(0, 0);
})();
