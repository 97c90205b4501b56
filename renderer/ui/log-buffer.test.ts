import { describe, expect, test } from 'vitest'
import type { LogLine } from '../../contract/objects.ts'
import { marked, pieces } from './ansi.ts'
import { find, LogBuffer, plainText } from './log-buffer.ts'

const line = (offset: number, text = `line ${offset}`, more: Partial<LogLine> = {}): LogLine => ({
  task: 'exp-worker-0',
  attempt: 1,
  offset,
  time: '2026-01-31T12:00:00Z',
  stream: 'stdout',
  text,
  ...more,
})
const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => line(from + at))
const texts = (buffer: LogBuffer) => buffer.lines.map(({ line: { text } }) => text)

describe('the buffer behind a log', () => {
  test('drops lines that come again after a reconnect, per task and attempt', () => {
    const buffer = new LogBuffer()
    buffer.push(lines(1, 4))
    buffer.push([
      ...lines(2, 5),
      line(1, 'other task', { task: 'exp-worker-1' }),
      line(1, 'again', { attempt: 2 }),
    ])
    expect(texts(buffer)).toEqual(['line 1', 'line 2', 'line 3', 'line 4', 'other task', 'again'])
    expect(buffer.lines.map(({ begins }) => begins).filter(Boolean)).toEqual([2])
  })

  test('keeps the newest up to its capacity and counts what it let go', () => {
    const buffer = new LogBuffer(100)
    for (let at = 0; at < 1000; at += 10) buffer.push(lines(at, at + 10))
    expect(buffer.lines).toHaveLength(100)
    expect(buffer.dropped).toBe(900)
    expect(texts(buffer).at(0)).toBe('line 900')
    expect(texts(buffer).at(-1)).toBe('line 999')
  })

  test('while somebody reads above it grows to twice its size before it lets go', () => {
    const buffer = new LogBuffer(100)
    buffer.push(lines(0, 150), true)
    expect(buffer.dropped).toBe(0)
    buffer.push(lines(150, 260), true)
    expect(buffer.lines).toHaveLength(200)
    buffer.push(lines(260, 261))
    expect(buffer.lines).toHaveLength(100)
  })

  test('sequence numbers never repeat, so rows keep their identity', () => {
    const buffer = new LogBuffer(10)
    buffer.push(lines(0, 30))
    const before = buffer.lines.at(-1)?.seq ?? 0
    buffer.push(lines(30, 31))
    expect(buffer.lines.at(-1)?.seq).toBe(before + 1)
  })

  test('holds 100,000 lines and finds among them', () => {
    const buffer = new LogBuffer()
    buffer.push(lines(0, 100_000))
    expect(find(buffer.lines, 'LINE 99999')).toEqual([99_999])
    expect(find(buffer.lines, '')).toEqual([])
  })
})

describe('terminal colours', () => {
  test('are no part of what is searched and copied', () => {
    expect(plainText('\u001b[1;32mok\u001b[0m done')).toBe('ok done')
    expect(plainText('\u001b]0;title\u0007text')).toBe('text')
  })

  test('a progress bar shows its last state', () => {
    expect(plainText('10%\r50%\r100%')).toBe('100%')
    expect(plainText('100%\r')).toBe('100%')
  })

  test('become classes or colours, and text stays text', () => {
    const [first, second, third] = pieces(
      '\u001b[31m<b>red</b>\u001b[0m\u001b[38;5;208morange\u001b[38;2;1;2;3mtrue',
    )
    expect(first).toMatchObject({ text: '<b>red</b>', classes: 'ansi-red' })
    expect(second?.color).toBe('rgb(255, 135, 0)')
    expect(third?.color).toBe('rgb(1, 2, 3)')
  })

  test('a search marks its hits inside coloured text', () => {
    const cut = marked(pieces('\u001b[31mloss LOSS\u001b[0m end'), 'loss')
    expect(cut.map(({ text, hit }) => [text, hit ?? false])).toEqual([
      ['loss', true],
      [' ', false],
      ['LOSS', true],
      [' end', false],
    ])
  })
})
