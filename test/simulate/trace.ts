import { priorityClasses } from '../../contract/index.ts'
import type { Job } from './jobs.ts'
import type { HostSpec } from './lab.ts'

/** What is wrong with a file, and where. */
export class TraceError extends Error {}

type Line = (column: string, fallback?: string) => string

/** Comma-separated, the first line names the columns; empty lines and those beginning with # are skipped. */
function linesOf(text: string, what: string, needed: readonly string[]): { line: Line; at: number }[] {
  const lines = text
    .split(/\r?\n/)
    .map((content, index) => ({ content: content.trim(), at: index + 1 }))
    .filter(({ content }) => content && !content.startsWith('#'))
  const names = lines[0]?.content.split(',').map((name) => name.trim()) ?? []
  const missing = needed.filter((name) => !names.includes(name))
  if (missing.length)
    throw new TraceError(`the ${what} has no column ${missing.join(', ')}; its first line names the columns`)
  return lines.slice(1).map(({ content, at }) => {
    const cells = content.split(',').map((cell) => cell.trim())
    return { at, line: (column, fallback = '') => cells[names.indexOf(column)] || fallback }
  })
}

function numberIn(line: Line, column: string, at: number, least: number, fallback?: string): number {
  const value = Number(line(column, fallback) || NaN)
  if (!(value >= least))
    throw new TraceError(
      `line ${at}: ${column} is ${line(column) || 'empty'}; expected a number of at least ${least}`,
    )
  return value
}

/** In order of submission. */
export function readTrace(text: string): Job[] {
  const jobs = linesOf(text, 'trace', ['submit_s', 'gpus', 'duration_s']).map(({ line, at }): Job => {
    const priority = priorityClasses.find((name) => name === line('class', 'normal'))
    if (!priority)
      throw new TraceError(`line ${at}: class is ${line('class')}; expected ${priorityClasses.join(', ')}`)
    const gpus = numberIn(line, 'gpus', at, 0)
    const limit = line('limit_s')
    return {
      id: `job-${String(at).padStart(7, '0')}`,
      at: numberIn(line, 'submit_s', at, 0),
      owner: line('user', 'somebody').replaceAll(/[^A-Za-z0-9._-]/g, '-'),
      team: line('team').replaceAll(/[^A-Za-z0-9._-]/g, '-') || null,
      priority,
      tasks: Math.round(numberIn(line, 'tasks', at, 1, '1')),
      gpus: Math.round(gpus),
      cpus: numberIn(line, 'cpus', at, 0.001, String(gpus ? gpus * 4 : 1)),
      memoryGib: numberIn(line, 'memory_gib', at, 0.001, String(gpus ? gpus * 32 : 2)),
      seconds: Math.max(1, numberIn(line, 'duration_s', at, 0)),
      limit: limit ? Math.max(1, Math.ceil(numberIn(line, 'limit_s', at, 1))) : null,
    }
  })
  return jobs.toSorted((a, b) => a.at - b.at)
}

export function readHosts(text: string): HostSpec[] {
  const hosts = linesOf(text, 'file of nodes', ['cpus', 'memory_gib', 'gpus']).flatMap(
    ({ line, at }): HostSpec[] => {
      const count = Math.round(numberIn(line, 'count', at, 1, '1'))
      const name = line('name', `node-${at}`)
      return Array.from({ length: count }, (_, each) => ({
        name: count > 1 ? `${name}-${each + 1}` : name,
        cpus: numberIn(line, 'cpus', at, 1),
        memoryGib: numberIn(line, 'memory_gib', at, 1),
        gpus: Math.round(numberIn(line, 'gpus', at, 0)),
        model: line('model', 'GPU'),
        gpuMemoryGib: numberIn(line, 'gpu_memory_gib', at, 1, '40'),
      }))
    },
  )
  if (!hosts.length) throw new TraceError('the file of nodes names none')
  return hosts
}
