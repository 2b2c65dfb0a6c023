// The little of the DOM that the page needs. Text always becomes a text node: names and reasons
// come from outside and are never read as HTML.

/** Makes an element. Attributes that are null or undefined are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Sets the text of a node, and leaves it untouched if it is that already. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The word for a state with its symbol, so that colour is never the only sign. */
export function badge() {
  const symbol = element("span", { "aria-hidden": "true" });
  const word = element("span");
  const node = element("span", { class: "badge" }, symbol, word);
  return {
    node,
    show(state) {
      node.dataset.state = state.name;
      setText(symbol, state.symbol);
      setText(word, state.word);
    },
  };
}
