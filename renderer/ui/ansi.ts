import Anser from 'anser'
import { visibleText } from './log-buffer.ts'

export interface Piece {
  readonly text: string
  /** Classes of `log-view.css`. */
  readonly classes: string
  /** Of the 256-colour and true-colour palettes. */
  readonly color: string | undefined
  readonly background: string | undefined
}

/** A line as coloured pieces. Text stays text: nothing here ever becomes HTML. */
export function pieces(text: string): Piece[] {
  const visible = visibleText(text)
  if (!visible.includes('\u001b'))
    return [{ text: visible, classes: '', color: undefined, background: undefined }]
  return Anser.ansiToJson(visible, { json: true, use_classes: true, remove_empty: true }).map((entry) => ({
    text: entry.content,
    classes: [named(entry.fg), entry.bg ? named(`${entry.bg}-back`) : '', ...entry.decorations]
      .filter(Boolean)
      .join(' '),
    color: colorOf(entry.fg, entry.fg_truecolor),
    background: colorOf(entry.bg, entry.bg_truecolor),
  }))
}

const named = (name: string | null) => (name && !/palette|truecolor/.test(name) ? name : '')

function colorOf(name: string | null, trueColor: string | null): string | undefined {
  if (name === 'ansi-truecolor' && trueColor) return `rgb(${trueColor})`
  const index = Number(/^ansi-palette-(\d+)$/.exec(name ?? '')?.[1] ?? NaN)
  if (Number.isNaN(index)) return undefined
  if (index >= 232)
    return `rgb(${Array(3)
      .fill(8 + (index - 232) * 10)
      .join(', ')})`
  const level = (value: number) => (value === 0 ? 0 : 55 + value * 40)
  const cube = index - 16
  return `rgb(${level(Math.floor(cube / 36))}, ${level(Math.floor(cube / 6) % 6)}, ${level(cube % 6)})`
}

/** Cut pieces so that every occurrence of `text` is one of its own, marked. */
export function marked(all: readonly Piece[], text: string): (Piece & { hit?: boolean })[] {
  const wanted = text.toLowerCase()
  if (!wanted) return [...all]
  return all.flatMap((piece) => {
    const cut: (Piece & { hit?: boolean })[] = []
    const lower = piece.text.toLowerCase()
    let from = 0
    for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
      if (at > from) cut.push({ ...piece, text: piece.text.slice(from, at) })
      cut.push({ ...piece, text: piece.text.slice(at, at + wanted.length), hit: true })
      from = at + wanted.length
    }
    if (from < piece.text.length) cut.push({ ...piece, text: piece.text.slice(from) })
    return cut
  })
}
