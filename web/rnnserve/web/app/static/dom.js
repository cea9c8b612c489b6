// Makes elements. Text is set as text: what a model is called never becomes markup.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.flatMap(([name, said]) => [
    element("dt", {}, name), element("dd", {}, said),
  ]));
}

export function panel(title, className, ...children) {
  const heading = element("h3", {}, title);
  heading.id = `panel-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return element("section", { class: className, "aria-labelledby": heading.id }, heading, ...children);
}
