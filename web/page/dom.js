// Small helpers for the document. Text is only ever set as text.

/**
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} type
 * @returns {E}
 */
export function find(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new TypeError(`no ${type.name} with the id ${id}`);
  return element;
}

/**
 * @param {string} tag
 * @param {{ className?: string, text?: string, type?: string, title?: string, onclick?: () => void }} [with_]
 * @param {Node[]} children
 */
export function make(tag, { text, ...with_ } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, with_);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** @param {Element} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * One row for each item. A row stays as long as its item does, so that focus and a click that is half done survive a change.
 * @template T
 * @param {HTMLElement} list
 * @param {readonly T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T, row: HTMLElement | undefined) => HTMLElement} fill makes the row if there is none, and says what is new
 */
export function rows(list, items, key, fill) {
  const { activeElement } = document;
  const known = new Map([...list.children].map((row) => [/** @type {HTMLElement} */ (row).dataset.key, /** @type {HTMLElement} */ (row)]));
  const wanted = items.map((item) => {
    const row = fill(item, known.get(key(item)));
    row.dataset.key = key(item);
    known.delete(key(item));
    return row;
  });
  for (const row of known.values()) row.remove();
  wanted.forEach((row, at) => list.children[at] === row || list.insertBefore(row, list.children[at]));
  // A row that was moved has lost the focus.
  if (activeElement !== document.activeElement && list.contains(activeElement)) /** @type {HTMLElement} */ (activeElement).focus();
}
