// The arena on a canvas.

import { RADIUS } from './arena.js';

/** What is to be seen of a player. @typedef {{ x: number, y: number, aim: number, seat: number, absent: boolean, own: boolean }} Shown */

/** The colour of a seat: neighbours differ the most. @param {number} seat */
export const colour = (seat) => `hsl(${Math.round(18 + seat * 137.508) % 360} 62% 52%)`;

export class Painter {
  #canvas;
  #context;
  /** @type {Record<string, string>} */
  #theme = {};
  /** @type {Map<number, { text: string, label: HTMLCanvasElement }>} */
  #labels = new Map();
  /** @type {Map<number, string>} */
  #colours = new Map();
  #scale = 1;
  #left = 0;
  #top = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  }

  /** Does what only the first drawing has to do. */
  warm() {
    const someone = { x: 1_000, y: 1_000, aim: 0, seat: 0, absent: false, own: true };
    const more = { name: () => 'Somebody', ghost: null, time: 0, panels: { left: 0, right: 0 } };
    this.draw({ size: 4_000, pillars: [{ x: 2_000, y: 2_000, radius: 300 }] }, [[3_000, 3_000]], [someone], more);
    this.#context.getImageData(0, 0, 1, 1);
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#labels.clear();
  }

  /** The page's colours have changed, or are to be read for the first time. */
  retheme() {
    const probe = document.createElement('i');
    document.body.append(probe);
    for (const name of ['field', 'grid', 'pillar', 'pickup', 'ink', 'ground', 'line', 'faint']) {
      probe.style.color = `var(--${name})`;
      this.#theme[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    this.#labels.clear();
  }

  /**
   * The whole field, between the panels, where there is room; where not, one's own surroundings.
   * @param {number} size
   * @param {Shown | undefined} own
   * @param {{ left: number, right: number }} panels CSS pixels
   */
  #aim(size, own, panels) {
    const canvas = this.#canvas;
    const ratio = Math.min(devicePixelRatio, 2);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      this.#labels.clear();
    }
    const margin = 24 * ratio; // a name fits above who stands at the edge
    const between = width - (panels.left + panels.right) * ratio;
    const fits = (Math.min(between, height) - 2 * margin) / size;
    this.#scale = Math.max(fits, ((panels.left ? 9 : 11) * ratio) / RADIUS);
    /** @param {number} room @param {number | undefined} at */
    const place = (room, at) => {
      const all = size * this.#scale;
      if (all + 2 * margin <= room) return (room - all) / 2;
      return Math.max(Math.min(margin, room / 2 - (at ?? size / 2) * this.#scale), room - all - margin);
    };
    this.#left = panels.left * ratio + place(between, own?.x);
    this.#top = place(height, own?.y);
    return ratio;
  }

  /**
   * @param {{ size: number, pillars: { x: number, y: number, radius: number }[] }} field
   * @param {readonly (readonly number[])[]} pickups
   * @param {Shown[]} players
   * @param {{ name: (seat: number) => string, ghost: { x: number, y: number } | null, time: number,
   *   panels: { left: number, right: number } }} more `ghost`: where the server has oneself
   */
  draw(field, pickups, players, { name, ghost, time, panels }) {
    const own = players.find((player) => player.own);
    const ratio = this.#aim(field.size, own, panels);
    const [context, theme, scale] = [this.#context, this.#theme, this.#scale];
    const radius = RADIUS * scale;
    const whole = field.size * scale;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    context.translate(this.#left, this.#top);

    context.fillStyle = theme.field;
    context.beginPath();
    context.roundRect(0, 0, whole, whole, 10 * ratio);
    context.fill();
    context.strokeStyle = theme.grid;
    context.lineWidth = ratio;
    context.beginPath();
    for (let line = 1_000; line < field.size; line += 1_000) {
      context.moveTo(line * scale, 0);
      context.lineTo(line * scale, whole);
      context.moveTo(0, line * scale);
      context.lineTo(whole, line * scale);
    }
    context.stroke();
    context.strokeStyle = theme.line;
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.roundRect(0, 0, whole, whole, 10 * ratio);
    context.stroke();

    context.fillStyle = theme.pillar;
    for (const pillar of field.pillars) {
      context.beginPath();
      context.arc(pillar.x * scale, pillar.y * scale, pillar.radius * scale, 0, 7);
      context.fill();
    }

    context.fillStyle = theme.pickup;
    const beat = (90 + 14 * Math.sin(time / 350)) * scale;
    context.beginPath();
    for (const [x, y] of pickups) {
      context.moveTo(x * scale, y * scale - beat);
      context.lineTo(x * scale + beat, y * scale);
      context.lineTo(x * scale, y * scale + beat);
      context.lineTo(x * scale - beat, y * scale);
      context.closePath();
    }
    context.fill();

    for (const player of players) {
      const [x, y] = [player.x * scale, player.y * scale];
      context.globalAlpha = player.absent ? 0.35 : 1;
      context.fillStyle = this.#colour(player.seat);
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.fill();
      if (player.own) {
        context.strokeStyle = theme.ink;
        context.lineWidth = 2.5 * ratio;
        context.stroke();
      }
      const angle = (player.aim / 256) * 2 * Math.PI;
      context.fillStyle = '#fff';
      context.beginPath();
      context.arc(x + Math.cos(angle) * radius * 0.55, y + Math.sin(angle) * radius * 0.55, radius * 0.26, 0, 7);
      context.fill();
      const label = this.#label(player.seat, name(player.seat), ratio);
      context.drawImage(label, Math.round(x - label.width / 2), Math.round(y - radius - label.height - ratio));
      context.globalAlpha = 1;
    }
    if (ghost) {
      context.setLineDash([4 * ratio, 4 * ratio]);
      context.strokeStyle = theme.faint;
      context.lineWidth = 1.5 * ratio;
      context.beginPath();
      context.arc(ghost.x * scale, ghost.y * scale, radius, 0, 7);
      context.stroke();
      context.setLineDash([]);
    }
  }

  /** @param {number} seat */
  #colour(seat) {
    let known = this.#colours.get(seat);
    if (!known) this.#colours.set(seat, (known = colour(seat)));
    return known;
  }

  /** Names are drawn once and kept: text is dear. @param {number} seat @param {string} text @param {number} ratio */
  #label(seat, text, ratio) {
    const known = this.#labels.get(seat);
    if (known?.text === text) return known.label;
    const label = document.createElement('canvas');
    const context = /** @type {CanvasRenderingContext2D} */ (label.getContext('2d'));
    const font = `600 ${Math.round(12 * ratio)}px system-ui, sans-serif`;
    context.font = font;
    label.width = Math.ceil(context.measureText(text).width) + 6 * ratio;
    label.height = Math.ceil(17 * ratio);
    context.font = font;
    context.textBaseline = 'middle';
    context.lineWidth = 3 * ratio;
    context.strokeStyle = this.#theme.field;
    context.fillStyle = this.#theme.ink;
    context.strokeText(text, 3 * ratio, label.height / 2);
    context.fillText(text, 3 * ratio, label.height / 2);
    this.#labels.set(seat, { text, label });
    return label;
  }
}
