#!/usr/bin/env node
// The `submarine` command: cli/index.ts on the pinned Node.
import { fileURLToPath } from 'node:url'
import { become, orFail } from './node24.js'

orFail(() => become(fileURLToPath(new URL('./index.ts', import.meta.url)), process.argv.slice(2)))
