/** A special token that goes before or after a text. */
export interface WrappingToken {
  readonly id: number;
  readonly content: string;
}

/** The "post_processor" of a tokenizer.json that puts tokens around each text; null without any. */
export function wrapping(
  before: readonly WrappingToken[],
  after: readonly WrappingToken[] = [],
): unknown {
  if (before.length + after.length === 0) return null;
  const around = (sequence: string, typeId: number) => [
    ...before.map(({ content }) => ({ SpecialToken: { id: content, type_id: typeId } })),
    { Sequence: { id: sequence, type_id: typeId } },
    ...after.map(({ content }) => ({ SpecialToken: { id: content, type_id: typeId } })),
  ];
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ id, content }) => [
        content,
        { id: content, ids: [id], tokens: [content] },
      ]),
    ),
  };
}
