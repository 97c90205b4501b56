import { Validator } from '@seriousme/openapi-schema-validator'
import { describe, expect, it } from 'vitest'
import { openApi } from './openapi.ts'
import { problems } from './problem.ts'
import type { Route } from './route.ts'
import { routes } from './routes.ts'

const document = openApi('1.2.3') as {
  paths: Record<string, Record<string, { operationId: string; parameters: { name: string; in: string }[]; responses: Record<string, unknown> }>> // prettier-ignore
  components: { schemas: Record<string, unknown> }
}

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const validator = new Validator()
    const result = await validator.validate({ ...structuredClone(document) })
    expect(result.errors ?? []).toEqual([])
    expect(validator.version).toBe('3.1')
  })

  it('has every route once, with its parameters and its failures', () => {
    const operations = Object.values(document.paths).flatMap((path) => Object.values(path))
    expect(operations.map((each) => each.operationId).toSorted()).toEqual(Object.keys(routes).toSorted())
    for (const [id, route] of Object.entries<Route>(routes)) {
      const operation = operations.find((each) => each.operationId === id)
      const inPath = operation?.parameters.filter((each) => each.in === 'path').map((each) => each.name)
      expect(inPath).toEqual([...route.path.matchAll(/\{(\w+)/g)].map(([, name]) => name))
      const statuses = Object.keys(operation?.responses ?? {})
      expect(statuses).toContain(String(route.status))
      for (const code of route.problems) expect(statuses).toContain(String(problems[code][0]))
    }
  })

  it('refers to nothing it does not hold', () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref]) => ref ?? '')
    expect(refs.length).toBeGreaterThan(30)
    const held = new Set(
      Object.keys(document.components.schemas).map((name) => `#/components/schemas/${name}`),
    )
    expect(refs.filter((ref) => !held.has(ref))).toEqual([])
  })
})
