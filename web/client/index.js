// muster in the browser: `import { connect } from 'muster-client'`. See docs/browser.md.

/** @typedef {import('./links.js').Transport} Transport */
/** @typedef {import('./muster.js').Options} Options */
/** @typedef {import('./muster.js').Snapshot} Snapshot */
/** @typedef {import('./muster.js').Events} Events */

export { Muster, connect } from './muster.js';
export { MusterError, actOf } from './codes.js';
export { Interpolation, Prediction } from './play.js';
export * as codec from './codec.js';
