// The values of docs/protocol.md as small types that read and write, for muster's messages and for a game's own bytes:
//
//   const Body = struct({ seat: u16, x: u16, y: u16 });
//   const state = decode(struct({ left: u32, bodies: vec(Body) }), bytes);

/** @template T @typedef {{ read(from: Reader): T, write(to: Writer, value: T): void }} Type */
/** @template T @typedef {T extends Type<infer V> ? V : never} ValueOf */

/** Bytes that are not what they should be. */
export class DecodeError extends Error {}

/** Reads values from bytes. */
export class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  u8() {
    if (this.at >= this.bytes.length) throw new DecodeError('cut short');
    return this.bytes[this.at++];
  }

  /** The next bytes, not copied. @param {number} length */
  take(length) {
    if (!(length <= this.bytes.length - this.at)) throw new DecodeError('longer than the message');
    return this.bytes.subarray(this.at, (this.at += length));
  }

  /** @param {number} length 2 or 4 */
  fixed(length) {
    const b = this.take(length);
    return length === 2 ? b[0] | (b[1] << 8) : (b[0] | (b[1] << 8) | (b[2] << 16) | (b[3] << 24)) >>> 0;
  }

  /** A varint of at most `width` bytes; a bigint only past 2^53. @param {number} width @returns {number | bigint} */
  varint(width) {
    const first = this.u8();
    if (first <= 250) return first;
    const length = 1 << (first - 250);
    if (first === 255 || length > width) throw new DecodeError('a number too wide');
    if (length <= 4) return this.fixed(length);
    let high = 0n;
    const [low, middle] = [this.fixed(4), this.fixed(4)];
    if (length === 16) high = (BigInt(this.fixed(4)) << 64n) | (BigInt(this.fixed(4)) << 96n);
    if (!high && middle < 0x200000) return middle * 0x1_0000_0000 + low;
    return high | (BigInt(middle) << 32n) | BigInt(low);
  }

  /** A length. */
  length() {
    return Number(this.varint(8));
  }

  end() {
    if (this.at !== this.bytes.length) throw new DecodeError('bytes left over');
  }
}

/** Writes values; the buffer grows and is used again after `reset`. */
export class Writer {
  #buffer = new Uint8Array(64);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  reset() {
    this.#length = 0;
  }

  /** What was written, copied. */
  bytes() {
    return this.#buffer.slice(0, this.#length);
  }

  /** @param {number} more @returns {number} where they go */
  #grow(more) {
    const at = this.#length;
    if (at + more > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(at + more, 2 * this.#buffer.length));
      larger.set(this.#buffer);
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#length += more;
    return at;
  }

  /** @param {number} value */
  u8(value) {
    const at = this.#grow(1); // first, since it may change the buffer
    this.#buffer[at] = value;
  }

  /** @param {Uint8Array} bytes */
  raw(bytes) {
    const at = this.#grow(bytes.length);
    this.#buffer.set(bytes, at);
  }

  /** @param {number} value */
  u32(value) {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
  }

  /** @param {number} size 4 or 8 @param {number} value */
  float(size, value) {
    const at = this.#grow(size);
    if (size === 4) this.#view.setFloat32(at, value, true);
    else this.#view.setFloat64(at, value, true);
  }

  /** The shortest varint. @param {number | bigint} value */
  varint(value) {
    if (value <= 250) return this.u8(Number(value));
    const length = value <= 0xffff ? 2 : value <= 0xffff_ffff ? 4 : value <= 0xffff_ffff_ffff_ffffn ? 8 : 16;
    this.u8(250 + Math.log2(length));
    if (length === 2) {
      const at = this.#grow(2);
      return this.#view.setUint16(at, Number(value), true);
    }
    for (let rest = BigInt(value), left = length; left; left -= 4, rest >>= 32n) this.u32(Number(rest & 0xffff_ffffn));
  }
}

/** @template T @param {Type<T>} type @param {Uint8Array} bytes @returns {T} */
export function decode(type, bytes) {
  const reader = new Reader(bytes);
  const value = type.read(reader);
  reader.end();
  return value;
}

/** @template T @param {Type<T>} type @param {T} value @returns {Uint8Array} */
export function encode(type, value) {
  const writer = new Writer();
  type.write(writer, value);
  return writer.bytes();
}

/** @param {number | bigint} value @param {number | bigint} least @param {number | bigint} most */
function check(value, least, most) {
  const whole = typeof value === 'bigint' || Number.isInteger(value);
  if (!whole || value < least || value > most) throw new RangeError(`${value} is not from ${least} to ${most}`);
  return value;
}

/** @param {number} width @returns {Type<any>} */
function unsigned(width) {
  const most = width < 8 ? 2 ** (8 * width) - 1 : (1n << BigInt(8 * width)) - 1n;
  return { read: (from) => from.varint(width), write: (to, value) => to.varint(check(value, 0, most)) };
}

/** @param {number} width @returns {Type<any>} */
function signed(width) {
  const half = 1n << BigInt(8 * width - 1);
  return {
    read(from) {
      const n = BigInt(from.varint(width));
      const value = n & 1n ? -(n >> 1n) - 1n : n >> 1n;
      return BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)) ? Number(value) : value;
    },
    write(to, value) {
      const n = BigInt(check(value, -half, half - 1n));
      to.varint(n >= 0n ? 2n * n : -2n * n - 1n);
    },
  };
}

/** @type {Type<number>} */
export const u8 = { read: (from) => from.u8(), write: (to, value) => to.u8(Number(check(value, 0, 255))) };
/** @type {Type<number>} */
export const i8 = { read: (from) => (from.u8() << 24) >> 24, write: (to, value) => to.u8(Number(check(value, -128, 127)) & 255) };
/** @type {Type<number>} */
export const u16 = unsigned(2);
/** @type {Type<number>} */
export const u32 = unsigned(4);
/** A bigint only past 2^53. @type {Type<number | bigint>} */
export const u64 = unsigned(8);
/** A bigint only past 2^53. @type {Type<number | bigint>} */
export const u128 = unsigned(16);
/** @type {Type<number>} */
export const i16 = signed(2);
/** @type {Type<number>} */
export const i32 = signed(4);
/** A bigint only past 2^53. @type {Type<number | bigint>} */
export const i64 = signed(8);
/** A bigint only past 2^53. @type {Type<number | bigint>} */
export const i128 = signed(16);

/** @param {number} size @returns {Type<number>} */
const float = (size) => ({
  read(from) {
    const b = from.take(size);
    const view = new DataView(b.buffer, b.byteOffset, size);
    return size === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true);
  },
  write: (to, value) => to.float(size, value),
});
export const f32 = float(4);
export const f64 = float(8);

/** @type {Type<boolean>} */
export const bool = {
  read(from) {
    const value = from.u8();
    if (value > 1) throw new DecodeError('neither true nor false');
    return value === 1;
  },
  write: (to, value) => to.u8(value ? 1 : 0),
};

/** A view into the message, not a copy. @type {Type<Uint8Array>} */
export const bytes = {
  read: (from) => from.take(from.length()),
  write(to, value) {
    to.varint(value.length);
    to.raw(value);
  },
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** @type {Type<string>} */
export const str = {
  read(from) {
    try {
      return utf8.decode(bytes.read(from));
    } catch (error) {
      throw error instanceof DecodeError ? error : new DecodeError('not UTF-8');
    }
  },
  write: (to, value) => bytes.write(to, encoder.encode(value)),
};

/** Text of one form, refused otherwise in both directions. @param {RegExp} form @param {number} [most] bytes @returns {Type<string>} */
export const text = (form, most = 64) => {
  /** @param {string} value */
  const checked = (value) => {
    if (!form.test(value) || encoder.encode(value).length > most) throw new DecodeError(`not a ${form}`);
    return value;
  };
  return { read: (from) => checked(str.read(from)), write: (to, value) => str.write(to, checked(value)) };
};

/** Exactly `length` bytes, without their length. @param {number} length @returns {Type<Uint8Array>} */
export const array = (length) => ({
  read: (from) => from.take(length).slice(),
  write: (to, value) => to.raw(value.subarray(0, Number(check(value.length, length, length)))),
});

/** A 128-bit id, as 32 hexadecimal digits. @type {Type<string>} */
export const id = {
  read: (from) => from.varint(16).toString(16).padStart(32, '0'),
  write: (to, value) => u128.write(to, BigInt('0x' + value)),
};

/** @template T @param {Type<T>} type @returns {Type<T | null>} */
export const option = (type) => ({
  read: (from) => (bool.read(from) ? type.read(from) : null),
  write(to, value) {
    bool.write(to, value !== null && value !== undefined);
    if (value !== null && value !== undefined) type.write(to, value);
  },
});

/** @template T @param {Type<T>} type @param {number} [least] @param {number} [most] items @returns {Type<T[]>} */
export const vec = (type, least = 0, most = Infinity) => ({
  read(from) {
    const count = from.length();
    // No item is shorter than a byte, so that a count past the message cannot make anything large.
    if (count < least || count > Math.min(most, from.bytes.length)) throw new DecodeError('a wrong count');
    const items = [];
    for (let i = 0; i < count; i++) items.push(type.read(from));
    return items;
  },
  write(to, items) {
    to.varint(check(items.length, least, most));
    for (const item of items) type.write(to, item);
  },
});

/** @template A, B @param {Type<A>} a @param {Type<B>} b @returns {Type<[A, B]>} */
export const pair = (a, b) => ({
  read: (from) => [a.read(from), b.read(from)],
  write(to, [left, right]) {
    a.write(to, left);
    b.write(to, right);
  },
});

/**
 * @template {Record<string, Type<any>>} F
 * @param {F} fields in their order on the wire
 * @returns {Type<{ [K in keyof F]: ValueOf<F[K]> }>}
 */
export function struct(fields) {
  const entries = Object.entries(fields);
  return {
    read(from) {
      /** @type {any} */
      const value = {};
      for (const [name, type] of entries) value[name] = type.read(from);
      return value;
    },
    write(to, value) {
      for (const [name, type] of entries) type.write(to, value[name]);
    },
  };
}

/**
 * An enum whose variants have no fields: their names.
 * @template {string} N
 * @param {readonly N[]} names
 * @returns {Type<N>}
 */
export const names = (names) => ({
  read(from) {
    const name = names[Number(from.varint(4))];
    if (name === undefined) throw new DecodeError('an unknown variant');
    return name;
  },
  write: (to, value) => to.varint(check(names.indexOf(value), 0, names.length - 1)),
});

/**
 * An enum: objects with the variant's name as `kind`.
 * @template {Record<string, Record<string, Type<any>>>} V
 * @param {V} variants in order of their numbers
 * @returns {Type<{ [K in keyof V]: { kind: K } & { [F in keyof V[K]]: ValueOf<V[K][F]> } }[keyof V]>}
 */
export function union(variants) {
  const kinds = names(Object.keys(variants));
  const structs = Object.fromEntries(Object.entries(variants).map(([kind, fields]) => [kind, struct({ kind: { read: () => kind, write() {} }, ...fields })]));
  return {
    read: (from) => /** @type {any} */ (structs[kinds.read(from)].read(from)),
    write(to, value) {
      const kind = String(value.kind);
      kinds.write(to, kind);
      structs[kind].write(to, /** @type {any} */ (value));
    },
  };
}
