import { expect, it, vi } from 'vitest';
import { tally } from './outcome.js';

// Many cases, and as many again by hand: `npm run fuzz`
vi.setConfig({ testTimeout: 3_600_000 });

// Each file mutates one kind of file that comes with a checkpoint
await import('./safetensors.js');
await import('./index.js');
await import('./config.js');
await import('./tokenizer.js');
await import('./sentencepiece.js');
await import('./template.js');
await import('./folders.js');
await import('./pickled.js');
await import('./gguf.js');
await import('./hub.js');

it('that was at least 20,000 cases', ({ skip }) => {
  skip(Boolean(process.env.SDA_FUZZ_CASE), 'SDA_FUZZ_CASE asks for one case');
  expect(tally.cases).toBeGreaterThanOrEqual(20_000);
});
