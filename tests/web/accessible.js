// What a page does to people who see little, hear it read out or use no mouse: a list of faults, in words.
// Run inside the page. Contrast and sizes are those of WCAG 2.2, level AA.
() => {
  const faults = [];
  const told = (element) => element.outerHTML.replace(/\s+/g, " ").slice(0, 90);
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && element.getClientRects().length > 0;
  const all = (chosen) => [...document.querySelectorAll(chosen)].filter(seen);
  const dialog = document.querySelector("dialog[open]");

  if (!document.documentElement.lang) faults.push("the page does not say its language");
  if (!document.title) faults.push("the page has no title");
  for (const [chosen, words] of [["main", "main part"], ["header", "head"], ["footer", "foot"], ["nav[aria-label]", "named navigation"]]) {
    if (document.querySelectorAll(chosen).length !== 1) faults.push(`not one ${words}`);
  }
  if (!dialog && all("h1").length !== 1) faults.push(`${all("h1").length} headings of the first level`);
  let level = 0;
  for (const head of all("main :is(h1, h2, h3, h4)")) {
    const own = Number(head.tagName[1]);
    if (own > level + 1) faults.push(`a level of headings is left out before ${told(head)}`);
    level = own;
  }
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const id of new Set(ids.filter((each, at) => ids.indexOf(each) !== at))) faults.push(`two elements are ${id}`);
  for (const name of ["aria-activedescendant", "aria-labelledby", "aria-describedby"]) {
    for (const each of document.querySelectorAll(`[${name}]`)) {
      if (!document.getElementById(each.getAttribute(name))) faults.push(`${name} leads nowhere: ${told(each)}`);
    }
  }

  const nameOf = (element) => element.getAttribute("aria-label") || [...(element.labels || [])].map((each) => each.textContent).join("") ||
    element.textContent || element.alt || element.title || element.placeholder || "";
  const acting = "button, a[href], input, select, textarea, summary, [tabindex], [role=option], [role=listbox], [role=img], [role=region], [role=toolbar]";
  for (const each of all(acting)) if (each.id !== "main" && !nameOf(each).trim()) faults.push(`without a name: ${told(each)}`);
  for (const each of document.querySelectorAll("img:not([alt])")) faults.push(`a picture without words: ${told(each)}`);
  for (const each of all("th:not([scope])")) faults.push(`a head of a table that says not of what: ${told(each)}`);
  for (const each of all("button, input, select, summary")) {
    const { width, height } = each.getBoundingClientRect();
    if ((width < 24 || height < 24) && !each.classList.contains("spot")) faults.push(`${Math.round(width)} by ${Math.round(height)} px are too small: ${told(each)}`);
  }
  for (const each of all("main *")) {
    const style = getComputedStyle(each);
    if (/auto|scroll/.test(style.overflowX + style.overflowY) && each.scrollWidth > each.clientWidth + 1 && each.tabIndex < 0 &&
      ![...each.querySelectorAll("a[href], button, input, select, [tabindex]")].some((inner) => inner.tabIndex >= 0)) {
      faults.push(`no key scrolls ${told(each)}`);
    }
  }
  const main = document.querySelector("main");
  if (main.scrollWidth > main.clientWidth + 1) faults.push(`the main part is ${main.scrollWidth} px wide in ${main.clientWidth}`);
  if (document.documentElement.scrollWidth > window.innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} px wide in ${window.innerWidth}`);

  // Contrast: colours laid over each other as they are drawn.
  const parsed = (colour) => {
    const parts = colour.match(/[\d.]+/g).map(Number);
    return colour.startsWith("color(srgb") ? [...parts.slice(0, 3).map((each) => 255 * each), parts[3] ?? 1] : [...parts.slice(0, 3), parts[3] ?? 1];
  };
  const over = (top, below) => [...[0, 1, 2].map((k) => top[k] * top[3] + below[k] * (1 - top[3])), 1];
  const light = (colour) => {
    const [red, green, blue] = colour.slice(0, 3).map((each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.unshift(parsed(getComputedStyle(each).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const opacity = (element) => { let made = 1; for (let each = element; each; each = each.parentElement) made *= Number(getComputedStyle(each).opacity); return made; };
  const inert = (element) => element.closest(":disabled, [aria-disabled=true], option, noscript, .closed, .skip, .unseen");
  for (const each of all("body *")) {
    const words = [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim()) || each.matches("input:not([type=checkbox]), select");
    if (!words || inert(each)) continue;
    const style = getComputedStyle(each);
    const below = ground(each);
    const ink = parsed(each instanceof SVGElement ? style.fill : style.color);
    const ratio = contrast(over([...ink.slice(0, 3), ink[3] * opacity(each)], below), below);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (ratio < least) faults.push(`contrast ${ratio.toFixed(2)} of ${told(each)}`);
    if (each.matches("input, select")) {
      const edge = contrast(over(parsed(style.borderTopColor), below), ground(each.parentElement));
      if (edge < 3) faults.push(`edge of contrast ${edge.toFixed(2)} of ${told(each)}`);
    }
  }
  return faults;
}
