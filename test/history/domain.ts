import type { Model } from './model.ts'

export type ClaimInput =
  | { readonly kind: 'claim'; readonly gpu: string; readonly task: string }
  | { readonly kind: 'release'; readonly gpu: string; readonly task: string }
export interface ClaimOutput {
  /** The claim was granted, or the task did hold what it released. */
  readonly done: boolean
}

/** A GPU has one owner at a time, and a free one is not denied. */
export const claimModel: Model<string | null, ClaimInput, ClaimOutput> = {
  name: 'GPU',
  keyOf: ({ gpu }) => gpu,
  initial: () => null,
  step: (owner, { kind, task }, output) => {
    const done = kind === 'claim' ? owner === null || owner === task : owner === task
    if (output ? output.done !== done : !done) return undefined
    if (!done) return owner
    return kind === 'claim' ? task : null
  },
  identify: (owner) => (owner === null ? '-' : `+${owner}`),
  describe: ({ kind, task }, output) =>
    `${kind} for ${task} → ${output ? (output.done ? 'ok' : 'refused') : '?'}`,
  describeState: (owner) => (owner === null ? 'free' : `held by ${owner}`),
}

export interface StartInput {
  readonly run: string
  readonly attempt: number
}
export interface StartOutput {
  /** False: this attempt, or a later one, was started before. */
  readonly started: boolean
}

/** An attempt of a run starts once, and never after a later one. The state is the newest attempt started. */
export const startOnceModel: Model<number, StartInput, StartOutput> = {
  name: 'run',
  keyOf: ({ run }) => run,
  initial: () => 0,
  step: (newest, { attempt }, output) => {
    const started = attempt > newest
    if (output ? output.started !== started : !started) return undefined
    return started ? attempt : newest
  },
  identify: String,
  describe: ({ attempt }, output) =>
    `start attempt ${attempt} → ${output ? (output.started ? 'started' : 'was started before') : '?'}`,
  describeState: (newest) => (newest === 0 ? 'not started' : `at attempt ${newest}`),
}
