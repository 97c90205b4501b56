import type { Gpu } from '../../contract/index.ts'

/** Higher is nearer: more NVLinks, then one PCIe switch, several, the host bridge, the NUMA node, across sockets. */
function nearness(a: Gpu | undefined, b: Gpu | undefined): number {
  const link = a && b ? (a.links?.[b.uuid] ?? b.links?.[a.uuid]) : undefined
  if (link === undefined) return a?.numa !== undefined && a.numa === b?.numa ? 3 : 1
  if (link.startsWith('NV')) return 10 + Number(link.slice(2))
  return byLink[link] ?? 1
}
const byLink: Record<string, number> = { XGMI: 10, PIX: 8, PXB: 6, PHB: 4, NODE: 2, SYS: 1 }

/** Beyond so many sets, one grown greedily from each device must do. */
const mostSets = 2_000

/**
 * Which `count` of the free devices: those that reach each other best, then those whose going leaves the best set for
 * the next task, then the first. Positions in `free`.
 */
export function chooseDevices(free: readonly (Gpu | undefined)[], count: number): number[] {
  const all = free.map((_, at) => at)
  if (count >= free.length) return all
  if (count === 0) return []
  const near = free.map((a) => free.map((b) => nearness(a, b)))
  if (isFlat(near)) return all.slice(0, count)
  const candidates =
    setCount(free.length, count) <= mostSets ? combinations(free.length, count) : grown(near, count)
  let best: { set: number[]; inner: number; left: number } | undefined
  for (const set of candidates) {
    const inner = cohesion(near, set)
    if (best && inner < best.inner) continue
    const taken = new Set(set)
    const left = cohesion(near, all.filter((at) => !taken.has(at))) // prettier-ignore
    if (!best || inner > best.inner || left > best.left) best = { set, inner, left }
  }
  return best?.set ?? all.slice(0, count)
}

/** The weakest connection counts first: a collective runs at its pace. Then the sum. */
function cohesion(near: readonly (readonly number[])[], set: readonly number[]): number {
  let weakest = 100
  let sum = 0
  for (let i = 0; i < set.length; i++)
    for (let j = i + 1; j < set.length; j++) {
      const value = near[set[i] ?? 0]?.[set[j] ?? 0] ?? 1
      weakest = Math.min(weakest, value)
      sum += value
    }
  return weakest * 100_000 + sum
}

function isFlat(near: readonly (readonly number[])[]): boolean {
  const first = near[0]?.[1]
  return near.every((row, i) => row.every((value, j) => i === j || value === first))
}

function setCount(n: number, k: number): number {
  let count = 1
  for (let i = 0; i < k; i++) count = (count * (n - i)) / (i + 1)
  return count
}

/** In lexicographic order, so that ties go to the first devices. */
function* combinations(n: number, k: number): Generator<number[]> {
  const at = Array.from({ length: k }, (_, i) => i)
  for (;;) {
    yield [...at]
    let i = k - 1
    while (i >= 0 && at[i] === n - k + i) i--
    if (i < 0) return
    at[i] = (at[i] ?? 0) + 1
    for (let j = i + 1; j < k; j++) at[j] = (at[j - 1] ?? 0) + 1
  }
}

function* grown(near: readonly (readonly number[])[], count: number): Generator<number[]> {
  for (let seed = 0; seed < near.length; seed++) {
    const set = [seed]
    while (set.length < count) {
      let next = -1
      let best = -1
      for (let at = 0; at < near.length; at++) {
        if (set.includes(at)) continue
        const value = cohesion(near, [...set, at])
        if (value > best) [best, next] = [value, at]
      }
      set.push(next)
    }
    yield set.toSorted((a, b) => a - b)
  }
}
