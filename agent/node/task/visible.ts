/** Variables by which a driver, a container toolkit or a library chooses devices: the node's to set, nobody else's. */
const ofDevices = new Set([
  'NVIDIA_VISIBLE_DEVICES',
  'NVIDIA_MIG_CONFIG_DEVICES',
  'NVIDIA_MIG_MONITOR_DEVICES',
  'CUDA_VISIBLE_DEVICES',
  'HIP_VISIBLE_DEVICES',
  'ROCR_VISIBLE_DEVICES',
  'GPU_DEVICE_ORDINAL',
  'AMD_VISIBLE_DEVICES',
])

/** What an experiment's environment says of devices: it does not count, and that is noted in the task's log. */
export function deviceVariables(env: Readonly<Record<string, string>>): string[] {
  return Object.keys(env).filter((name) => ofDevices.has(name.toUpperCase()))
}

export function withoutDeviceVariables(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ofDevices.has(name.toUpperCase())))
}

export type Vendor = 'nvidia' | 'amd'

/**
 * What a task sees of the host's GPUs: exactly its own, and none when it has none. Each vendor's programs look at
 * their own variable, and the other vendor's are told that there is nothing.
 */
export function visibleDevices(gpus: readonly string[], vendor: Vendor): Record<string, string> {
  const [nvidia, amd] = vendor === 'nvidia' ? [gpus.join(','), ''] : ['', gpus.join(',')]
  return {
    NVIDIA_VISIBLE_DEVICES: nvidia || 'void',
    CUDA_VISIBLE_DEVICES: nvidia,
    ROCR_VISIBLE_DEVICES: amd,
    // Counts within what ROCR_VISIBLE_DEVICES lets through, so it hides devices only when there are none.
    ...(amd ? {} : { HIP_VISIBLE_DEVICES: '' }),
  }
}
