import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';

/** Bytes that this process could still take without swapping: the machine's, or its container's where that is less. */
export function availableMemory(): number {
  const machine = fieldOf('/proc/meminfo', /^MemAvailable:\s+(\d+) kB/m);
  const limit = fieldOf('/sys/fs/cgroup/memory.max', /^(\d+)$/m);
  const used = fieldOf('/sys/fs/cgroup/memory.current', /^(\d+)$/m);
  const free = machine === null ? freemem() : machine * 1024;
  return limit === null || used === null ? free : Math.min(free, Math.max(0, limit - used));
}

function fieldOf(file: string, pattern: RegExp): number | null {
  try {
    const digits = pattern.exec(readFileSync(file, 'utf8'))?.[1];
    return digits === undefined ? null : Number(digits);
  } catch {
    return null; // not Linux, or no such limit
  }
}
