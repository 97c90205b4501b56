/** CRC-32C (Castagnoli), the polynomial storage uses. Node's zlib.crc32 is the other one. Slicing by 8. */
const tables = makeTables()

function makeTables(): Uint32Array[] {
  const first = new Uint32Array(256)
  for (let n = 0; n < 256; n++) {
    let c = n
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1
    first[n] = c >>> 0
  }
  const all = [first]
  for (let t = 1; t < 8; t++) {
    const prev = all[t - 1] as Uint32Array
    all.push(prev.map((c) => ((c >>> 8) ^ (first[c & 0xff] as number)) >>> 0))
  }
  return all
}

const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
]

/** Continues from `previous`, so that crc32c(b, crc32c(a)) is the checksum of a followed by b. */
export function crc32c(data: Uint8Array, previous = 0): number {
  let c = ~previous
  let i = 0
  const b = data
  for (const end = data.length - 7; i < end; i += 8) {
    c ^=
      (b[i] as number) |
      ((b[i + 1] as number) << 8) |
      ((b[i + 2] as number) << 16) |
      ((b[i + 3] as number) << 24)
    c =
      (t7[c & 0xff] as number) ^
      (t6[(c >>> 8) & 0xff] as number) ^
      (t5[(c >>> 16) & 0xff] as number) ^
      (t4[c >>> 24] as number) ^
      (t3[b[i + 4] as number] as number) ^
      (t2[b[i + 5] as number] as number) ^
      (t1[b[i + 6] as number] as number) ^
      (t0[b[i + 7] as number] as number)
  }
  for (; i < data.length; i++) c = (c >>> 8) ^ (t0[(c ^ (b[i] as number)) & 0xff] as number)
  return ~c >>> 0
}

/**
 * Whether data of this length can get from one checksum to another that differs by `difference` by a change of a single
 * bit. The checksum is linear: what a bit changes depends on its distance from the end alone.
 */
export function oneBitAway(length: number, difference: number): boolean {
  const effects = Uint32Array.from({ length: 8 }, (_, bit) => t0[1 << bit] as number)
  for (let fromEnd = 0; fromEnd < length; fromEnd++)
    for (let bit = 0; bit < 8; bit++) {
      const effect = effects[bit] as number
      if (effect === difference >>> 0) return true
      effects[bit] = (effect >>> 8) ^ (t0[effect & 0xff] as number)
    }
  return false
}
