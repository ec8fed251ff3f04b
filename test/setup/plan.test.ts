import { describe, expect, test } from 'vitest';
import { type DeviceChoice, type Machine, planRuntime } from '../../src/setup/plan.js';

const machines = {
  x64: { platform: 'linux', arch: 'x64', libc: 'glibc', gpu: false },
  x64Gpu: { platform: 'linux', arch: 'x64', libc: 'glibc', gpu: true },
  arm: { platform: 'linux', arch: 'arm64', libc: 'glibc', gpu: false },
  armGpu: { platform: 'linux', arch: 'arm64', libc: 'glibc', gpu: true },
  mac: { platform: 'darwin', arch: 'arm64', libc: 'none', gpu: false },
  oldMac: { platform: 'darwin', arch: 'x64', libc: 'none', gpu: false },
  alpine: { platform: 'linux', arch: 'x64', libc: 'musl', gpu: false },
  riscv: { platform: 'linux', arch: 'riscv64', libc: 'glibc', gpu: false },
} as const satisfies Record<string, Machine>;

describe('the wheel for a machine', () => {
  test.each<[keyof typeof machines, DeviceChoice, string, string, boolean]>([
    ['x64', 'auto', 'tensorflow-cpu', 'manylinux_2_27_x86_64', false],
    ['x64', 'gpu', 'tensorflow', 'manylinux_2_27_x86_64', true],
    ['x64Gpu', 'auto', 'tensorflow', 'manylinux_2_27_x86_64', true],
    ['x64Gpu', 'cpu', 'tensorflow-cpu', 'manylinux_2_27_x86_64', false],
    ['arm', 'auto', 'tensorflow', 'manylinux_2_27_aarch64', false],
    ['armGpu', 'auto', 'tensorflow', 'manylinux_2_27_aarch64', false],
    ['mac', 'auto', 'tensorflow', 'macosx_12_0_arm64', false],
  ])('%s with %s is %s for %s, CUDA %s', (machine, choice, name, tag, cuda) => {
    const plan = planRuntime(machines[machine], choice);
    expect([plan.package, plan.platformTags[0], plan.cuda]).toEqual([name, tag, cuda]);
    expect(plan.diskBytes).toBeGreaterThan(plan.downloadBytes);
  });

  test('no two different plans share a folder in the cache', () => {
    const plans = (['x64', 'x64Gpu', 'arm', 'mac'] as const).map(
      (name) => planRuntime(machines[name], 'auto').id,
    );
    expect(new Set(plans).size).toBe(plans.length);
  });

  test('macOS names its libraries its own way', () => {
    expect(planRuntime(machines.mac, 'auto').libraries[0]).toBe('libtensorflow_cc.2.dylib');
  });

  test.each<[keyof typeof machines, DeviceChoice, RegExp]>([
    ['oldMac', 'auto', /no TensorFlow .* wheel for darwin x64: use Linux x64/],
    ['alpine', 'auto', /musl \(Alpine\): use a distribution with glibc 2\.27/],
    ['riscv', 'auto', /linux riscv64: .*SDA_TENSORFLOW_DIR/],
    ['mac', 'gpu', /darwin arm64 on a GPU: .*--cpu/],
    ['armGpu', 'gpu', /linux arm64 on a GPU/],
  ])('%s with %s is refused with a way out', (machine, choice, message) => {
    expect(() => planRuntime(machines[machine], choice)).toThrow(message);
  });
});
