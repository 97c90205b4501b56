// Learns to tell three species of penguins apart by four measurements: train.py in JavaScript, for hosts that
// have no Python. Needs nothing but Node. It logs every epoch, reports loss and accuracy to the cluster it runs
// on, and leaves the model in the output folder.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const features = ['bill_length_mm', 'bill_depth_mm', 'flipper_length_mm', 'body_mass_g']
const hiddenSize = 8

function settings(env = process.env) {
  const { values } = parseArgs({
    options: {
      epochs: { type: 'string', default: env.EPOCHS ?? '50' },
      // Shortest time of an epoch, so that there is something to watch.
      'epoch-seconds': { type: 'string', default: env.EPOCH_SECONDS ?? '0.2' },
      'learning-rate': { type: 'string', default: env.LEARNING_RATE ?? '0.0006' },
      seed: { type: 'string', default: env.SEED ?? '3' },
      output: { type: 'string', default: env.SUBMARINE_OUTPUT ?? '/output' },
    },
  })
  return {
    epochs: Number(values.epochs),
    epochSeconds: Number(values['epoch-seconds']),
    rate: Number(values['learning-rate']),
    seed: Number(values.seed),
    output: values.output,
  }
}

/** Mulberry32: the same numbers from the same seed, in train.py too. */
function seeded(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state) >>> 0
    t = ((t + (Math.imul(t ^ (t >>> 7), 61 | t) >>> 0)) ^ t) >>> 0
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function shuffle(items, draw) {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(draw() * (last + 1))
    ;[items[last], items[other]] = [items[other], items[last]]
  }
}

/** The penguins as { x: measurements, y: species }, shuffled, and split four to one. */
function load(draw) {
  const file = path.join(path.dirname(fileURLToPath(import.meta.url)), 'penguins.csv')
  const [head, ...lines] = readFileSync(file, 'utf8').trim().split('\n')
  const names = head.split(',')
  const rows = lines.map((line) =>
    Object.fromEntries(line.split(',').map((value, index) => [names[index], value])),
  )
  const whole = rows.filter((row) => features.every((name) => !['', 'NA'].includes(row[name])))
  const species = [...new Set(whole.map((row) => row.species))].sort()
  const penguins = whole.map((row) => ({
    x: features.map((name) => Number(row[name])),
    y: species.indexOf(row.species),
  }))
  shuffle(penguins, draw)
  const cut = Math.floor((penguins.length * 4) / 5)
  return { species, training: penguins.slice(0, cut), unseen: penguins.slice(cut) }
}

/** Mean and deviation of each measurement. */
function scaleOf(penguins) {
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const mean = features.map((_, index) => average(penguins.map(({ x }) => x[index])))
  const deviation = features.map((_, index) =>
    Math.sqrt(average(penguins.map(({ x }) => (x[index] - mean[index]) ** 2))),
  )
  return { mean, deviation }
}

function scaled(penguins, { mean, deviation }) {
  return penguins.map(({ x, y }) => ({
    x: x.map((value, index) => (value - mean[index]) / deviation[index]),
    y,
  }))
}

/** The last weight of each row is its bias. */
const weighted = (row, values) =>
  values.reduce((sum, value, index) => sum + row[index] * value, row[values.length])

class Network {
  constructor(inputs, hidden, outputs, draw) {
    const rows = (count, size) =>
      Array.from({ length: count }, () => Array.from({ length: size + 1 }, () => draw() - 0.5))
    this.first = rows(hidden, inputs)
    this.second = rows(outputs, hidden)
  }

  /** The hidden layer's values, and the probability of each species. */
  run(x) {
    const hidden = this.first.map((row) => Math.tanh(weighted(row, x)))
    const scores = this.second.map((row) => weighted(row, hidden))
    const highest = Math.max(...scores)
    const powers = scores.map((score) => Math.exp(score - highest))
    const total = powers.reduce((sum, power) => sum + power, 0)
    return { hidden, probabilities: powers.map((power) => power / total) }
  }

  /** One step down the gradient of the cross entropy, which it returns. */
  learn({ x, y }, rate) {
    const { hidden, probabilities } = this.run(x)
    const errors = probabilities.map((p, k) => p - (k === y ? 1 : 0))
    const back = hidden.map(
      (h, j) => (1 - h * h) * errors.reduce((sum, e, k) => sum + e * this.second[k][j], 0),
    )
    for (const [rows, deltas, values] of [
      [this.second, errors, hidden],
      [this.first, back, x],
    ]) {
      rows.forEach((row, k) => {
        values.forEach((value, j) => (row[j] -= rate * deltas[k] * value))
        row[values.length] -= rate * deltas[k]
      })
    }
    return -Math.log(Math.max(probabilities[y], 1e-12))
  }

  accuracy(penguins) {
    const guess = ({ probabilities }) => probabilities.indexOf(Math.max(...probabilities))
    return penguins.filter(({ x, y }) => guess(this.run(x)) === y).length / penguins.length
  }
}

/** Sends metrics to the cluster. Training never fails for it: what cannot be sent now goes with the next. */
class Reporter {
  constructor({
    SUBMARINE_API: api,
    SUBMARINE_EXPERIMENT_ID: experiment,
    SUBMARINE_TOKEN: token,
    SUBMARINE_CA: ca,
  }) {
    this.url =
      api && experiment ? `${api.replace(/\/$/, '')}/api/v2/experiments/${experiment}/metrics` : undefined
    this.headers = { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }) }
    this.ca = ca
    this.waiting = []
    this.nextTry = 0
    this.complained = false
  }

  async add(step, values) {
    const time = new Date().toISOString()
    for (const [key, value] of Object.entries(values)) this.waiting.push({ key, value, step, time })
    if (performance.now() >= this.nextTry) await this.send()
  }

  async send() {
    if (!this.url || this.waiting.length === 0) return
    try {
      await this.post(JSON.stringify({ points: this.waiting }))
      this.waiting = []
    } catch (error) {
      this.nextTry = performance.now() + 2000
      if (!this.complained) {
        console.log(`Metrics cannot be reported to ${this.url}: ${error.message}. Training goes on.`)
        this.complained = true
      }
    }
  }

  post(body) {
    return new Promise((resolve, reject) => {
      const ca = this.ca && readFileSync(this.ca)
      const options = { method: 'POST', headers: this.headers, ca, timeout: 3000 }
      const request = (this.url.startsWith('https:') ? https : http).request(this.url, options, (reply) => {
        reply.resume()
        if (reply.statusCode < 300) resolve()
        else reject(new Error(`HTTP ${reply.statusCode}`))
      })
      request.on('timeout', () => request.destroy(new Error('no answer in 3 s')))
      request.on('error', reject)
      request.end(body)
    })
  }
}

const options = settings()
const draw = seeded(options.seed)
const { species, ...penguins } = load(draw)
const scale = scaleOf(penguins.training)
const training = scaled(penguins.training, scale)
const unseen = scaled(penguins.unseen, scale)
const network = new Network(features.length, hiddenSize, species.length, draw)
const reporter = new Reporter(process.env)
const task = process.env.SUBMARINE_TASK ?? '0'
console.log(`task ${task}: ${training.length} penguins to learn from, ${unseen.length} to be tested on`)

let loss = 0
let accuracy = 0
for (let epoch = 1; epoch <= options.epochs; epoch++) {
  const started = performance.now()
  shuffle(training, draw)
  loss = training.reduce((sum, penguin) => sum + network.learn(penguin, options.rate), 0) / training.length
  accuracy = network.accuracy(unseen)
  const count = `${String(epoch).padStart(3)}/${options.epochs}`
  console.log(`epoch ${count}  loss ${loss.toFixed(4)}  accuracy ${accuracy.toFixed(4)}`)
  await reporter.add(epoch, { loss, accuracy })
  await sleep(Math.max(0, options.epochSeconds * 1000 - (performance.now() - started)))
}
await reporter.send()

mkdirSync(options.output, { recursive: true })
const model = { species, features, ...scale, first: network.first, second: network.second }
const metrics = { epochs: options.epochs, loss, accuracy }
writeFileSync(path.join(options.output, 'model.json'), `${JSON.stringify(model, null, 2)}\n`)
writeFileSync(path.join(options.output, 'metrics.json'), `${JSON.stringify(metrics, null, 2)}\n`)
console.log(`accuracy ${accuracy.toFixed(4)} on penguins it had not seen`)
