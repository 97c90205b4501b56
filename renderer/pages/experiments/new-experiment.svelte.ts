import type { Experiment } from '../../../contract/objects.ts'
import type { ProblemError } from '../../../contract/problem.ts'
import { parseSpec } from '../../../contract/spec.ts'
import { type Api, newKey, problemFrom } from '../../api/client.ts'
import type { PickedFolder } from './folder.ts'
import {
  emptyForm,
  type FormValues,
  fromInput,
  fromSpec,
  type PlacedErrors,
  placeErrors,
  toInput,
} from './form.ts'
import { packTar } from './tar.ts'

const noErrors: PlacedErrors = { fields: {}, rest: [] }

/** The form of a new experiment, from the first key to the server's answer. */
export class NewExperiment {
  readonly #api: Api
  /** The same key until something changes: submitting twice by accident makes one experiment. */
  #key = newKey()
  #submitted = ''
  values = $state<FormValues>(emptyForm())
  folder = $state.raw<PickedFolder>()
  #busy = $state<'upload' | 'submit' | 'check'>()
  #errors = $state.raw<PlacedErrors>(noErrors)
  #problem = $state.raw<ProblemError>()
  #fits = $state(false)
  #demo = $state.raw<FormValues>()

  constructor(api: Api) {
    this.#api = api
  }

  get busy() {
    return this.#busy
  }
  get errors(): PlacedErrors {
    return this.#errors
  }
  get problem(): ProblemError | undefined {
    return this.#problem
  }
  /** The last check went well and nothing was changed since. */
  get fits(): boolean {
    return this.#fits
  }
  get hasDemo(): boolean {
    return this.#demo !== undefined
  }
  readonly preview = $derived(toInput(this.values, this.folder ? '(made on submit)' : undefined))

  /** Only an agent in demo mode has the file; anything else means there is no demo. */
  async findDemo(): Promise<void> {
    try {
      const response = await fetch('/demo.json')
      const found: unknown = response.ok ? await response.json() : undefined
      if (typeof found === 'object' && found && 'spec' in found) this.#demo = fromInput(found.spec)
    } catch {
      // No demo.
    }
  }

  fillDemo(): void {
    if (this.#demo) this.#fill(structuredClone(this.#demo))
  }

  async fillFrom(experiment: string): Promise<void> {
    try {
      const { value } = await this.#api.read('experiments.get', { params: { experiment } })
      this.#fill(fromSpec(value.spec))
    } catch (error) {
      this.#problem = problemFrom(error)
    }
  }

  #fill(values: FormValues): void {
    this.values = values
    this.folder = undefined
    this.touched()
  }

  /** Something was changed: what the last answer said no longer holds. */
  touched(): void {
    this.#fits = false
    this.#problem = undefined
  }

  /** Would it be accepted? Nothing is uploaded or started. */
  async check(): Promise<void> {
    await this.#run('check', async () => {
      const body = toInput(this.values, this.folder ? '0'.repeat(64) : undefined)
      if (!this.#readable(body)) return
      if (this.folder) delete body.code
      await this.#api.call('experiments.create', { body, query: { dry_run: '1' } })
      this.#fits = true
    })
  }

  /** The new experiment, or nothing when something is wrong; what, the form shows. */
  async submit(): Promise<Experiment | undefined> {
    return this.#run('submit', async () => {
      if (!this.#readable(toInput(this.values, this.folder ? '0'.repeat(64) : undefined))) return undefined
      const body = toInput(this.values, await this.#upload())
      const text = JSON.stringify(body)
      if (text !== this.#submitted) this.#key = newKey()
      this.#submitted = text
      return this.#api.call('experiments.create', { body, headers: { 'idempotency-key': this.#key } })
    })
  }

  /** The contract's own validator runs here too: most mistakes show without asking the server. */
  #readable(body: unknown): boolean {
    const parsed = parseSpec(body)
    this.#errors = 'errors' in parsed ? placeErrors(parsed.errors, this.values.roles !== null) : noErrors
    return 'spec' in parsed
  }

  async #upload(): Promise<string | undefined> {
    if (!this.folder) return undefined
    this.#busy = 'upload'
    const response = await this.#api.raw('blobs.create', {}, packTar(this.folder.entries))
    const { sha256 } = (await response.json()) as { sha256: string }
    this.#busy = 'submit'
    return sha256
  }

  async #run<T>(kind: 'submit' | 'check', work: () => Promise<T>): Promise<T | undefined> {
    this.#busy = kind
    this.#problem = undefined
    this.#fits = false
    try {
      return await work()
    } catch (error) {
      this.#problem = problemFrom(error)
      if (this.#problem.errors) this.#errors = placeErrors(this.#problem.errors, this.values.roles !== null)
      return undefined
    } finally {
      this.#busy = undefined
    }
  }
}
