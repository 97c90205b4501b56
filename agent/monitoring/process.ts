import { readdirSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { type Family, family, histogram, type Histogram } from './family.ts'

const lagBounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
const lookEveryMs = 100

/** How late timers fire: whatever holds the event loop shows here. */
export function watchLoop(): { lag: Histogram; stop(): void } {
  const lag = histogram(
    'submarine_event_loop_lag_seconds',
    'How much later than asked for a timer fired.',
    lagBounds,
  )
  let due = performance.now() + lookEveryMs
  const timer = setInterval(() => {
    const now = performance.now()
    lag.observe(Math.max(0, now - due) / 1000)
    due = now + lookEveryMs
  }, lookEveryMs).unref()
  return { lag, stop: () => clearInterval(timer) }
}

/** The agent's process, under the names that Prometheus' own clients use. */
export function processFamilies(version: string): Family[] {
  const memory = process.memoryUsage()
  const cpu = process.cpuUsage()
  const { active } = performance.eventLoopUtilization()
  return [
    family('gauge', 'submarine_build_info', 'Version of the agent; the value is always 1.', [
      { labels: { version, node_version: process.versions.node }, value: 1 },
    ]),
    family('counter', 'process_cpu_seconds_total', 'CPU time of the agent, user and system.', (cpu.user + cpu.system) / 1e6),
    family('gauge', 'process_resident_memory_bytes', 'Memory of the agent that is in RAM.', memory.rss),
    family('gauge', 'process_start_time_seconds', 'When the agent started, since the epoch.', performance.timeOrigin / 1000),
    family('gauge', 'process_open_fds', 'Open file descriptors.', openFiles()),
    family('gauge', 'nodejs_heap_size_total_bytes', 'Memory that V8 holds for JavaScript.', memory.heapTotal),
    family('gauge', 'nodejs_heap_size_used_bytes', 'Memory that JavaScript uses.', memory.heapUsed),
    family('gauge', 'nodejs_external_memory_bytes', 'Memory of buffers and native objects.', memory.external),
    family('counter', 'submarine_event_loop_busy_seconds_total', 'Time that the event loop did not wait.', active / 1000),
  ] // prettier-ignore
}

function openFiles(): readonly { labels: Record<string, never>; value: number | null }[] {
  try {
    return [{ labels: {}, value: readdirSync('/proc/self/fd').length }]
  } catch {
    return []
  }
}
