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
 * @param {{ className?: string, text?: string, data?: Record<string, string>, type?: string, title?: string, onclick?: () => void }} [with_]
 * @param {Node[]} children
 */
export function make(tag, { data = {}, text, ...with_ } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, with_);
  Object.assign(element.dataset, data);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** @param {HTMLElement} element @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
