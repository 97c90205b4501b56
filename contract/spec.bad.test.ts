import { describe, expect, it } from 'vitest'
import { parseSpec } from './spec.ts'

const good = { name: 'x', command: 'true' }
const nul = '\u0000'
const deep = (levels: number): unknown => (levels ? [deep(levels - 1)] : 'x')

/** What is wrong, the spec, where the fault is, and a part of what is said about it. */
const bad: [string, unknown, string, string][] = [
  // not a spec at all
  ['nothing', undefined, '', 'expected object'],
  ['null', null, '', 'expected object'],
  ['a text', 'name: x', '', 'expected object'],
  ['a number', 7, '', 'expected object'],
  ['a list', [good], '', 'expected object'],
  ['an empty object', {}, '/name', 'expected a name'],
  ['a wrapper around nothing', { experiment: null }, '/experiment', 'expected object'],
  ['two wrappers', { experiment: { experiment: good } }, '/experiment/name', 'expected a name'],

  // name
  ['no name', { command: 'true' }, '/name', 'expected a name'],
  ['an empty name', { ...good, name: '' }, '/name', 'at least one character'],
  ['a numeric name', { ...good, name: 7 }, '/name', 'expected a name'],
  ['a name with a space', { ...good, name: 'my run' }, '/name', 'letters, digits'],
  ['a name that is a path', { ...good, name: '../../etc/passwd' }, '/name', 'letters, digits'],
  ['a name beginning with a dash', { ...good, name: '-rf' }, '/name', 'beginning and ending'],
  ['a name with NUL', { ...good, name: `a${nul}b` }, '/name', 'letters, digits'],
  ['a name with a line end', { ...good, name: 'a\n' }, '/name', 'letters, digits'],
  ['a name in look-alike letters', { ...good, name: 'ехр' }, '/name', 'letters, digits'],
  ['a name of 64 characters', { ...good, name: 'a'.repeat(64) }, '/name', 'at most 63'],
  ['a name of 10 MB', { ...good, name: 'a'.repeat(10_000_000) }, '/name', 'at most 63'],
  ['a wrapped bad name', { experiment: { ...good, name: '' } }, '/experiment/name', 'at least one'],

  // unknown fields, at each level
  ['an unknown field', { ...good, colour: 'red' }, '/colour', 'unknown field'],
  ['a misspelt field', { ...good, resource: 'cpu=1' }, '/resource', 'unknown field'],
  ['another capital', { ...good, Command: 'x' }, '/Command', 'unknown field'],
  ['a field of 10 MB', { ...good, ['k'.repeat(10_000_000)]: 1 }, `/${'k'.repeat(296)}...`, 'unknown field'],
  ['a wrapper with something beside it', { experiment: good, name: 'x' }, '/experiment', 'unknown field'],
  ['an unknown field in a wrapper', { experiment: { ...good, a: 1 } }, '/experiment/a', 'unknown field'],
  ['an unknown field of a role', { name: 'x', roles: { worker: { command: 'x', cpus: 1 } } }, '/roles/worker/cpus', 'unknown field'],
  ['an unknown field of code', { ...good, code: { upload: 'a'.repeat(64), url: 's3://b' } }, '/code/url', 'unknown field'],
  ['an unknown field of git', { ...good, code: { upload: 'a'.repeat(64), git: { commit: 'c', dirty: false, by: 'me' } } }, '/code/git/by', 'unknown field'],
  ['an unknown field of an environment', { ...good, environment: { image: 'a', pull: true } }, '/environment/pull', 'unknown field'],
  ['a field that a prototype has', JSON.parse('{"name":"x","command":"x","__proto__":{"a":1}}'), '/__proto__', 'unknown field'],
  ['a field named constructor', { ...good, constructor: 1 }, '/constructor', 'unknown field'],
  ['a resource object with an unknown key', { ...good, resources: { cpu: 1, tpu: 1 } }, '/resources/tpu', 'unknown resource'],

  // type
  ['an unknown type', { ...good, type: 'batch' }, '/type', 'expected one of: script'],
  ['a type of later versions', { ...good, type: 'distributed-tf' }, '/type', 'not supported by this version'],
  ['a type that is no text', { ...good, type: 1 }, '/type', 'expected one of'],
  ['an inherited name as type', { ...good, type: 'toString' }, '/type', 'expected one of'],

  // command
  ['no command', { name: 'x' }, '/command', 'expected a command'],
  ['an empty command', { name: 'x', command: '' }, '/command', 'expected a command'],
  ['a command of spaces', { name: 'x', command: '  \n ' }, '/command', 'expected a command'],
  ['an empty list', { name: 'x', command: [] }, '/command', 'expected a command'],
  ['a list naming no program', { name: 'x', command: ['', 'a'] }, '/command', 'first word'],
  ['a number among the words', { name: 'x', command: ['sleep', 5] }, '/command/1', 'expected a text'],
  ['a command that is an object', { name: 'x', command: { run: 'x' } }, '/command', 'a text or a list'],
  ['NUL in a command', { name: 'x', command: `echo ${nul}` }, '/command', 'control characters'],
  ['NUL in a word', { name: 'x', command: ['echo', `a${nul}`] }, '/command/1', 'control characters'],
  ['a command of 65 KiB', { name: 'x', command: 'x'.repeat(65 * 1024) }, '/command', 'at most 65536'],
  ['words of 130 KiB in all', { name: 'x', command: ['a'.repeat(60_000), 'b'.repeat(60_000), 'c'.repeat(20_000)] }, '/command', '128 KiB'],
  ['2000 words', { name: 'x', command: Array<string>(2000).fill('a') }, '/command', '1024'],
  ['deeply nested words', { name: 'x', command: deep(1000) }, '/command/0', 'expected a text'],
  ['the design’s word with an empty text', { name: 'x', parameter: '' }, '/parameter', 'expected a command'],

  // environment
  ['an environment nobody made', { ...good, environment: 'team-default' }, '/environment', 'no environment is named "team-default"'],
  ['an empty image', { ...good, environment: { image: '' } }, '/environment/image', 'expected an image'],
  ['an image with a space', { ...good, environment: { image: 'python 3' } }, '/environment/image', 'expected an image'],
  ['an image with an option', { ...good, environment: { image: '--privileged' } }, '/environment/image', 'expected an image'],
  ['an environment without an image', { ...good, environment: {} }, '/environment/image', 'expected a text'],
  ['a list as environment', { ...good, environment: ['a'] }, '/environment', 'name of an environment'],
  ['an image of 513 characters', { ...good, environment: { image: 'a'.repeat(513) } }, '/environment/image', 'at most 512'],

  // env
  ['a variable with a dash', { ...good, env: { 'MY-VAR': '1' } }, '/env/MY-VAR', 'variable name'],
  ['a variable without a name', { ...good, env: { '': '1' } }, '/env/', 'variable name'],
  ['a variable with NUL', { ...good, env: { A: `x${nul}` } }, '/env/A', 'control characters'],
  ['a variable that is null', { ...good, env: { A: null } }, '/env/A', 'expected a text'],
  ['a variable that is a list', { ...good, env: { A: ['x'] } }, '/env/A', 'expected a text'],
  ['a variable of 33 KiB', { ...good, env: { A: 'x'.repeat(33 * 1024) } }, '/env/A', 'at most 32768'],
  ['a variable the cluster sets', { ...good, env: { SUBMARINE_TOKEN: 'x' } }, '/env', 'set by the cluster'],
  ['600 variables', { ...good, env: Object.fromEntries(Array.from({ length: 600 }, (_, at) => [`V${at}`, '1'])) }, '/env', 'at most 512'],
  ['variables as a list', { ...good, env: ['A=1'] }, '/env', 'expected record'],
  ['a variable of a role the cluster sets', { name: 'x', roles: { ps: { command: 'x', env: { SUBMARINE_A: '1' } } } }, '/roles/ps/env', 'set by the cluster'],

  // resources
  ['a unit nobody knows', { ...good, resources: 'mem=20xb' }, '/resources', 'expected a size'],
  ['a size without a number', { ...good, resources: 'mem=gb' }, '/resources', 'expected a size'],
  ['a negative size', { ...good, resources: { memory: '-1Gi' } }, '/resources/memory', 'expected a size'],
  ['a negative number of bytes', { ...good, resources: { memory: -5 } }, '/resources/memory', '0 to 1 Pi'],
  ['no memory at all', { ...good, resources: { memory: 0 } }, '/resources/memory', 'above 0'],
  ['an exponent', { ...good, resources: 'mem=1e9' }, '/resources', 'expected a size'],
  ['more than a pebibyte', { ...good, resources: { memory: '2Pi' } }, '/resources/memory', '0 to 1 Pi'],
  ['no cores', { ...good, resources: { cpu: 0 } }, '/resources/cpu', 'expected cores'],
  ['negative cores', { ...good, resources: 'cpu=-1' }, '/resources', 'expected cores'],
  ['cores in letters', { ...good, resources: { cpu: 'two' } }, '/resources/cpu', 'expected cores'],
  ['half a GPU', { ...good, resources: { gpu: 0.5 } }, '/resources/gpu', 'whole number of GPUs'],
  ['65 GPUs', { ...good, resources: 'gpu=65' }, '/resources', '0 to 64'],
  ['one resource twice', { ...good, resources: 'cpu=1, cpu=2' }, '/resources', 'cpu is given twice'],
  ['one resource in two spellings', { ...good, resources: 'vcore=1, cpu=2' }, '/resources', 'cpu is given twice'],
  ['two spellings as an object', { ...good, resources: { mem: '1Gi', memory: '2Gi' } }, '/resources/memory', 'given twice'],
  ['a part without a value', { ...good, resources: 'cpu' }, '/resources', 'KEY=VALUE'],
  ['an empty resource text', { ...good, resources: '' }, '/resources', 'KEY=VALUE'],
  ['a comma at the end', { ...good, resources: 'cpu=1,' }, '/resources', 'KEY=VALUE'],
  ['a resource nobody knows', { ...good, resources: 'cpu=1, tpu=8' }, '/resources', 'unknown resource "tpu"'],
  ['an inherited name as resource', { ...good, resources: 'constructor=1' }, '/resources', 'unknown resource'],
  ['resources as a number', { ...good, resources: 4 }, '/resources', 'expected resources such as'],
  ['a resource that is a list', { ...good, resources: { cpu: [1] } }, '/resources/cpu', ''],
  ['a resource text of 1 MB', { ...good, resources: 'c'.repeat(1_000_000) }, '/resources', 'at most 1000'],
  ['the design’s resources', { ...good, resource_constraint: { res: 'mem=20xb' } }, '/resource_constraint', 'expected a size'],
  ['a role’s resources', { name: 'x', command: 'x', roles: { ps: { resources: { gpu: -1 } } } }, '/roles/ps/resources/gpu', 'whole number of GPUs'],

  // timeout
  ['a timeout in words', { ...good, timeout: 'soon' }, '/timeout', 'expected a duration'],
  ['a timeout of nothing', { ...good, timeout: 0 }, '/timeout', '1 second to 366 days'],
  ['a negative timeout', { ...good, timeout: '-5 mins' }, '/timeout', 'expected a duration'],
  ['a timeout of two years', { ...good, timeout: '731 days' }, '/timeout', '1 second to 366 days'],
  ['a unit no clock has', { ...good, timeout: '3 fortnights' }, '/timeout', 'expected a duration'],
  ['an inherited name as unit', { ...good, timeout: '3 constructor' }, '/timeout', 'expected a duration'],
  ['a timeout that is true', { ...good, timeout: true }, '/timeout', 'expected a duration'],

  // tags
  ['tags as a text', { ...good, tags: 'a,b' }, '/tags', 'expected array'],
  ['an empty tag', { ...good, tags: ['ok', ''] }, '/tags/1', 'at least one character'],
  ['a tag with a line end', { ...good, tags: ['a\nb'] }, '/tags/0', 'control characters'],
  ['a tag of 65 characters', { ...good, tags: ['a'.repeat(65)] }, '/tags/0', 'at most 64 characters'],
  ['65 tags', { ...good, tags: Array.from({ length: 65 }, (_, at) => `t${at}`) }, '/tags', 'at most 64 tags'],

  // code
  ['an upload that is no digest', { ...good, code: { upload: '../secret' } }, '/code/upload', 'SHA-256'],
  ['a digest in capitals', { ...good, code: { upload: 'A'.repeat(64) } }, '/code/upload', 'lower-case'],
  ['code without an upload', { ...good, code: {} }, '/code/upload', ''],
  ['code as a text', { ...good, code: 'https://example.org/a.git' }, '/code', 'expected object'],
  ['git that does not say if it is dirty', { ...good, code: { upload: 'a'.repeat(64), git: { commit: 'c' } } }, '/code/git/dirty', ''],
  ['the design’s code from a store', { ...good, code: { sync_mode: 's3', url: 's3://b/c.tar.gz' } }, '/code/sync_mode', 'unknown field'],

  // roles
  ['no roles', { ...good, roles: {} }, '/roles', 'at least one role'],
  ['roles as a list', { ...good, roles: [{}] }, '/roles', 'expected record'],
  ['a role in capitals', { ...good, roles: { Worker: {} } }, '/roles/Worker', 'a role such as'],
  ['a role that is a path', { ...good, roles: { '../ps': {} } }, '/roles/..~1ps', 'a role such as'],
  ['a role of 21 letters', { ...good, roles: { ['a'.repeat(21)]: {} } }, `/roles/${'a'.repeat(21)}`, 'a role such as'],
  ['a role that is null', { ...good, roles: { worker: null } }, '/roles/worker', 'expected object'],
  ['no replicas', { ...good, roles: { worker: { replicas: 0 } } }, '/roles/worker/replicas', 'at least 1'],
  ['half a replica', { ...good, roles: { worker: { replicas: 1.5 } } }, '/roles/worker/replicas', 'expected int'],
  ['replicas as a text', { ...good, roles: { worker: { replicas: '2' } } }, '/roles/worker/replicas', 'expected'],
  ['257 replicas', { ...good, roles: { worker: { replicas: 257 } } }, '/roles/worker/replicas', 'at most 256'],
  ['1280 tasks', { ...good, roles: Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((role) => [role, { replicas: 256 }])) }, '/roles', 'at most 1024 tasks'],
  ['a role without a command', { name: 'x', roles: { worker: { command: 'x' }, ps: {} } }, '/roles/ps/command', 'expected a command'],
  ['a role in an environment nobody made', { ...good, roles: { ps: { environment: 'tf' } } }, '/roles/ps/environment', 'no environment is named'],

  // one thing said twice
  ['command and parameter', { ...good, parameter: 'x' }, '/parameter', 'another word for "command"'],
  ['resources and resource_constraint', { ...good, resources: 'cpu=1', resource_constraint: { res: 'cpu=1' } }, '/resource_constraint', 'another word for "resources"'],
  ['a role at the top and under roles', { ...good, worker: {}, roles: { worker: {} } }, '/worker', 'given under roles too'],
  ['both words in a role', { name: 'x', roles: { ps: { command: 'x', parameter: 'y' } } }, '/roles/ps/parameter', 'another word'],
  ['both words in a wrapper', { experiment: { ...good, parameter: 'x' } }, '/experiment/parameter', 'another word'],
  ['a fault in the design’s top-level role', { experiment: { ...good, ps: { replicas: -1 } } }, '/experiment/ps/replicas', 'at least 1'],
  ['a fault in its resources', { experiment: { ...good, ps: { resource_constraint: { res: 'gpu=x' } } } }, '/experiment/ps/resource_constraint', 'whole number of GPUs'],
] // prettier-ignore

describe('a spec with a fault', () => {
  it.each(bad)('%s', (_what, input, pointer, part) => {
    const parsed = parseSpec(input)
    const errors = 'errors' in parsed ? parsed.errors : []
    expect(errors.map((error) => error.pointer)).toContain(pointer)
    expect(errors.find((error) => error.pointer === pointer)?.message).toContain(part)
    for (const error of errors) expect(error.pointer.length + error.message.length).toBeLessThanOrEqual(600)
  })

  it('is answered with every fault at once', () => {
    const parsed = parseSpec({
      name: 'my run',
      command: [],
      timeout: 'soon',
      resources: { cpu: 0, gpu: -1 },
      x: 1,
    })
    expect('errors' in parsed && parsed.errors.map((error) => error.pointer).toSorted()).toEqual(
      ['/command', '/name', '/resources/cpu', '/resources/gpu', '/timeout', '/x'],
    ) // prettier-ignore
  })

  it('covers the cases asked for', () => expect(bad.length).toBeGreaterThanOrEqual(60))
})
