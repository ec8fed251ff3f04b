import { describe, expect, it } from 'vitest';
import { golden, modelBytes } from './golden.js';
import { imported } from './imported.js';

const { texts, models } = golden;
const folder = (name: string, config: object) => ({
  'tokenizer.model': modelBytes(name),
  'tokenizer_config.json': JSON.stringify(config),
});

describe.each(Object.entries(models))('%s', (name, model) => {
  it.each(model.settings.map((one) => [JSON.stringify(one.config), one] as const))(
    'has the ids of transformers with %s',
    async (_, { config, around, changed }) => {
      const tokenizer = await imported(folder(name, config));
      expect(tokenizer.encode('')).toEqual(around);
      for (const [i, text] of texts.entries()) {
        const ids = changed[i] ?? model.plain[i];
        if (!ids) continue;
        expect(tokenizer.encode(text, { addSpecialTokens: false }), JSON.stringify(text)).toEqual(
          ids,
        );
      }
    },
  );

  it('has the ids of sentencepiece for a text in which nothing is special', async () => {
    const tokenizer = await imported(folder(name, model.settings[0]!.config));
    for (const [i, ids] of model.plain.entries()) {
      const text = texts[i]!;
      if (!ids) continue;
      expect(tokenizer.encodeSegments([{ text, literal: true }]), text).toEqual(ids);
    }
  });

  it('decodes as sentencepiece does', async () => {
    const tokenizer = await imported(folder(name, model.settings[0]!.config));
    for (const [i, ids] of model.plain.entries()) {
      // sentencepiece writes another text for what it does not know
      if (!ids || ids.some((id) => tokenizer.specialTokenIds.has(id))) continue;
      expect(tokenizer.decode(ids), String(ids)).toBe(model.decoded[i] ?? texts[i]);
    }
    for (const { ids, text } of model.random) expect(tokenizer.decode(ids), String(ids)).toBe(text);
  });
});
