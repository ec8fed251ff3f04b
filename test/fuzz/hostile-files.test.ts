import { expect, it, vi } from 'vitest';
import { tally } from './outcome.js';

// Many cases, and as many again by hand: `npm run fuzz`
vi.setConfig({ testTimeout: 3_600_000 });

// Each file mutates one kind of file that comes with a checkpoint
await import('./safetensors.js');
await import('./index.js');
await import('./config.js');
await import('./tokenizer.js');
await import('./template.js');
await import('./folders.js');

it.skipIf(process.env.SDA_FUZZ_CASE)('that was at least 20,000 cases', () => {
  expect(tally.cases).toBeGreaterThanOrEqual(20_000);
});
