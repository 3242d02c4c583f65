// muster in the browser: `import { connect } from 'muster-client'`. See docs/browser.md.

export { Muster, connect } from './muster.js';
export { MusterError, actOf } from './codes.js';
export { Interpolation, Prediction } from './play.js';
export * as codec from './codec.js';
