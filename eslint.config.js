import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript'
import prettier from 'eslint-config-prettier'
import globals from 'globals'
import { importX } from 'eslint-plugin-import-x'
import svelte from 'eslint-plugin-svelte'
import ts from 'typescript-eslint'

/** Which rooms a room may import from (besides itself and packages). */
const mayImport = {
  raft: [],
  contract: [],
  agent: ['raft', 'contract'],
  onboarding: ['contract'],
  cli: ['contract', 'onboarding'],
  main: ['contract', 'onboarding'],
  renderer: ['contract', 'main/bridge'],
}
const rooms = Object.keys(mayImport)

const zones = rooms.flatMap((room) => {
  const forbidden = [...rooms, 'test', 'bench', 'sdk', 'resources'].filter((other) => other !== room)
  return forbidden.map((other) => ({
    target: `./${room}/**/!(*.test).{ts,js,svelte}`,
    from: `./${other}`,
    except: mayImport[room].includes(other)
      ? ['.']
      : mayImport[room].filter((a) => a.startsWith(`${other}/`)).map((a) => `./${a.slice(other.length + 1)}`),
    message: `${room}/ may import only: ${mayImport[room].join(', ') || 'nothing of ours'} (docs/architecture.md, The rooms).`,
  }))
})

/** The pure core of raft/ must replay from a seed: no clock, randomness, timers or I/O of its own. */
const impure = [
  'Date',
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'Promise',
  'process',
].map((name) => ({ name, message: 'raft/ core is pure: time and randomness are passed in.' }))

export default ts.config(
  { ignores: ['**/node_modules/**', '**/dist/**', '**/out/**', 'coverage/**', 'docs/**'] },
  ...ts.configs.recommendedTypeChecked,
  ...svelte.configs.recommended,
  prettier,
  ...svelte.configs.prettier,
  {
    languageOptions: {
      globals: globals.node,
      parserOptions: {
        projectService: {
          allowDefaultProject: ['eslint.config.js', 'playwright.config.ts'],
        },
        tsconfigRootDir: import.meta.dirname,
        extraFileExtensions: ['.svelte'],
      },
    },
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver-next': [createTypeScriptImportResolver()] },
    rules: {
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones }],
      'import-x/no-default-export': 'error',
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Use node:crypto or a seeded generator.' },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
    },
  },
  {
    files: [
      'raft/{types,quorum,confchange,progress,log,tail,core,election,replication,read-index,leadership,leader,follower,node,describe,codec,bytes,crc32c}.ts',
    ],
    rules: { 'no-restricted-globals': ['error', ...impure] },
  },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { globals: globals.browser, parserOptions: { parser: ts.parser } },
    rules: {
      'import-x/no-default-export': 'off',
      // Server data is kept raw and replaced whole, so its Maps and Sets need no reactivity of their own.
      'svelte/prefer-svelte-reactivity': 'off',
    },
  },
  {
    files: ['**/*.svelte'],
    // The linter sees the props of generic components as any; svelte-check knows their types and checks them.
    rules: {
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  {
    // Matchers such as expect.objectContaining are typed any by Vitest itself.
    files: ['**/*.test.ts'],
    rules: { '@typescript-eslint/no-unsafe-assignment': 'off' },
  },
  { files: ['renderer/**'], languageOptions: { globals: globals.browser } },
  {
    files: ['**/*.config.{ts,js}', '**/*.d.ts'],
    rules: { 'import-x/no-default-export': 'off' },
  },
  {
    files: ['**/*.js', '**/*.mjs', '**/*.cjs'],
    ...ts.configs.disableTypeChecked,
  },
)
