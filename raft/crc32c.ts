/** CRC-32C (Castagnoli), the polynomial storage uses. Node's zlib.crc32 is the other one. Slicing by 16. */
const SLICES = 16
/** table[256 * t + b]: the checksum of byte b followed by t zero bytes. One array, so that it is found once. */
const table = makeTable()

function makeTable(): Int32Array {
  const t = new Int32Array(SLICES * 256)
  for (let n = 0; n < 256; n++) {
    let c = n
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1
    t[n] = c
  }
  for (let i = 256; i < t.length; i++) {
    const c = t[i - 256] as number
    t[i] = (c >>> 8) ^ (t[c & 0xff] as number)
  }
  return t
}

/** Four bytes, the first of which has `slice` bytes of its block after it. */
function fold(t: Int32Array, word: number, slice: number): number {
  const at = slice << 8
  return (
    (t[at + (word & 0xff)] as number) ^
    (t[at - 256 + ((word >>> 8) & 0xff)] as number) ^
    (t[at - 512 + ((word >>> 16) & 0xff)] as number) ^
    (t[at - 768 + (word >>> 24)] as number)
  )
}

/** Continues from `previous`, so that crc32c(b, crc32c(a)) is the checksum of a followed by b. */
export function crc32c(data: Uint8Array, previous = 0): number {
  const t = table
  let c = ~previous
  let i = 0
  if (data.length >= SLICES) {
    // Whole words in one step each: a DataView reads them at any address.
    const view = new DataView(data.buffer, data.byteOffset, data.length)
    for (const end = data.length - SLICES; i <= end; i += SLICES)
      c =
        fold(t, c ^ view.getInt32(i, true), 15) ^
        fold(t, view.getInt32(i + 4, true), 11) ^
        fold(t, view.getInt32(i + 8, true), 7) ^
        fold(t, view.getInt32(i + 12, true), 3)
  }
  for (; i < data.length; i++) c = (c >>> 8) ^ (t[(c ^ (data[i] as number)) & 0xff] as number)
  return ~c >>> 0
}

/**
 * Whether data of this length can get from one checksum to another that differs by `difference` by a change of a single
 * bit. The checksum is linear: what a bit changes depends on its distance from the end alone.
 */
export function oneBitAway(length: number, difference: number): boolean {
  const effects = Int32Array.from({ length: 8 }, (_, bit) => table[1 << bit] as number)
  for (let fromEnd = 0; fromEnd < length; fromEnd++)
    for (let bit = 0; bit < 8; bit++) {
      const effect = effects[bit] as number
      if (effect === (difference | 0)) return true
      effects[bit] = (effect >>> 8) ^ (table[effect & 0xff] as number)
    }
  return false
}
