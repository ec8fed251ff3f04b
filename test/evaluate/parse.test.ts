import { describe, expect, test } from 'vitest';
import { parsePair, parseScore } from '../../src/evaluate/parse.js';

type Outcome = number | 'unparsable' | 'out-of-range' | 'refused';

const SCORES: readonly (readonly [answer: string, expected: Outcome])[] = [
  // JSON
  ['{"score": 85}', 85],
  ['{"score": 85.5}', 85.5],
  ['{"Score": 85}', 85],
  ['{"SCORE": "85"}', 85],
  ['{"score": "85/100"}', 85],
  ['{"score": 0}', 0],
  ['{"score": 100}', 100],
  ['{"score": 0.8}', 0.8],
  ['{"score": 1e2}', 100],
  ['```json\n{"score": 72}\n```', 72],
  ['```\n{ "score": 72 }\n```', 72],
  [
    'Here is my grade:\n```json\n{"reason": "Clear {mostly}", "score": 72}\n```\nHope it helps.',
    72,
  ],
  ['{"rationale": "A lesser judge would say Score: 20", "score": 85}', 85],
  ['{"score": 85, "parts": {"clarity": {"score": 20}}}', 85],
  ['{"overall_score": 64}', 64],
  ['{"rating": 64}', 64],
  ["{'Score': 85}", 85],
  ["['Score':'85']", 85],
  ['{"rationale": "a { and </think> in it", "score": 85}', 85],
  ['{"score": 85, "score": 20}', 'unparsable'],
  ['{"score": 85} {"score": 20}', 'unparsable'],
  ['Score: 20\n{"score": 85}', 'unparsable'],
  ['{"score": null}', 'unparsable'],
  ['{"score": "high"}', 'unparsable'],
  ['{"score": true}', 'unparsable'],
  ['{"score": [85, 20]}', 'unparsable'],
  ['{"score": 101}', 'out-of-range'],
  ['{"score": -5}', 'out-of-range'],
  ['{"helpfulness": 85}', 'unparsable'],
  ['{"score": 8', 'unparsable'],
  ['```json\n{"reason": "Score: 7', 'unparsable'],
  // labelled
  ['Score: 85', 85],
  ['Score: 85.5', 85.5],
  ['Score: 85,5', 85.5],
  ['Score: 0.8', 0.8],
  ['Score: 85.', 85],
  ['Score: 85, because it is clear.', 85],
  ['score = 85', 85],
  ['SCORE：85', 85],
  ['Score: ８５', 85],
  ['**Score**: 85/100', 85],
  ['**Score:** 85/100', 85],
  ['### Final Score: **85**', 85],
  ['Rating - 85 out of 100', 85],
  ['Rating: [[85]]', 85],
  ['Score – 85', 85],
  ['| Score | 85 |', 85],
  ['## Score\n85', 85],
  ['Score: 85%', 85],
  ['Score: 85 points', 85],
  ['Score (0-100): 85', 85],
  ['Score (out of 100): 85', 85],
  ['Score on a scale of 1 to 100: 85', 85],
  ['Score/100: 85', 85],
  ['Score: \\boxed{85}', 85],
  ['<score>85</score>', 85],
  ['The score is 85.', 85],
  ['I would give this a score of 85 out of 100.', 85],
  ['The response has 3 steps and 12 facts.\nScore: 85', 85],
  ['Score: 85\n\nSo my final score: 85', 85],
  ['On a scale of 1 to 100, I give 85/100', 85],
  ['I rate it 85 out of 100, as 8 out of 10 people would agree.', 85],
  ['85/100', 85],
  ['85', 85],
  [' 85.5\n', 85.5],
  ['**85**', 85],
  ['$\\boxed{85}$', 85],
  // thinking
  ['<think>maybe 70. Score: 70</think> Score: 72', 72],
  ['maybe Score: 70</think>\n\n{"score": 72}', 72],
  ['<think>a</think> Score: 1 <think>b</think> 72', 72],
  ['<think>I would say Score: 70', 'unparsable'],
  ['</think> Well. <think>Score: 70', 'unparsable'],
  ['<think>Score: 70</think>', 'unparsable'],
  ['<thinking>Score: 40? no</thinking>My verdict: 72', 72],
  ['<thinking>\nScore: 40\n</thinking>\n{"score": 72}', 72],
  ['<THINK>Score: 40</THINK>72', 72],
  ['<reasoning>Score: 40</reasoning><score>72</score>', 72],
  ['<analysis>Score: 40</analysis> Score: 72', 72],
  ['[THINK]Score: 40[/THINK]Score: 72', 72],
  ['◁think▷Score: 40◁/think▷Score: 72', 72],
  ['<seed:think>Score: 40</seed:think>Score: 72', 72],
  [
    '<|channel|>analysis<|message|>Score: 40<|end|><|start|>assistant<|channel|>final<|message|>Score: 72',
    72,
  ],
  ['<thinking>Score: 40', 'unparsable'],
  ['[THINK]Score: 40', 'unparsable'],
  ['<|channel|>analysis<|message|>Score: 40', 'unparsable'],
  // on another scale, never rescaled
  ['Score (out of 10): 8', 'unparsable'],
  ['Score (1-10): 8', 'unparsable'],
  ['Score (0 = bad, 10 = good): 8', 'unparsable'],
  ['Score (of 10): 8/100', 8],
  ['Score/10: 8', 'unparsable'],
  ['Rating on a scale of 1 to 5: 4', 'unparsable'],
  ['Score out of 10: 8', 'unparsable'],
  ['Score [0-10]: 8', 'unparsable'],
  ['**Score (out of 10)**: 8', 'unparsable'],
  ['{"score": 8, "scale": 10}', 'unparsable'],
  ['{"score": 8, "out_of": 10}', 'unparsable'],
  ['{"score": 8, "max_score": "10"}', 'unparsable'],
  ['{"score": 8, "scale": "1-10"}', 'unparsable'],
  ['{"score": 8, "scale": "usual"}', 'unparsable'],
  ['{"score": 80, "scale": "0-100"}', 80],
  // counts and questions
  ['Score: 3 errors were found', 'unparsable'],
  ['Rating: 4 stars', 'unparsable'],
  ['Verdict: 2 of the claims are wrong', 'unparsable'],
  ['Score: 40? No.', 'unparsable'],
  ['Score: 40? No. Score: 72', 'unparsable'],
  ['Score: 85 because it is clear', 85],
  ['Grade: 72', 72],
  // not one clear number
  ['', 'unparsable'],
  ['Good answer!', 'unparsable'],
  ['Score: N/A', 'unparsable'],
  ['Score: eighty-five', 'unparsable'],
  ['Score: 80-90', 'unparsable'],
  ['Score: 80 to 90', 'unparsable'],
  ['Score: 80 – 90 / 100', 'unparsable'],
  ['I would say 80-90/100', 'unparsable'],
  ['I would say 80 to 90 out of 100', 'unparsable'],
  ['Score: between 80 and 90', 'unparsable'],
  ['Score: 85 or 90', 'unparsable'],
  ['Score: [85, 20]', 'unparsable'],
  ['Score: 7.5.2', 'unparsable'],
  ['Score: 8½', 'unparsable'],
  ['Score: .85', 'unparsable'],
  ['Score: 8/10', 'unparsable'],
  ['Score: 4 out of 5', 'unparsable'],
  ['Score: 4 (out of 5)', 'unparsable'],
  ['8/10', 'unparsable'],
  ['Clarity score: 85\nTone score: 60', 'unparsable'],
  ['A score of 100 means perfect. Score: 85', 'unparsable'],
  ['I give it 85.', 'unparsable'],
  ['There are 2 errors, so 60 it is', 'unparsable'],
  ['60/100 for style, 85/100 for content', 'unparsable'],
  ['85 90', 'unparsable'],
  ['Score: 85th percentile', 'unparsable'],
  ['Underscore: 85', 'unparsable'],
  // out of range, never clamped
  ['Score: 101', 'out-of-range'],
  ['Score: 1000', 'out-of-range'],
  ['Score: 1,000', 'out-of-range'],
  ['Score: 100.01', 'out-of-range'],
  ['Score: -5', 'out-of-range'],
  ['Score: −5', 'out-of-range'],
  ['Score: 120/100', 'out-of-range'],
  ['-5/100', 'out-of-range'],
  ['101', 'out-of-range'],
  // refusals
  ['I cannot rate this (policy 2.1)', 'refused'],
  ["I'm sorry, but I can't assist with that request.", 'refused'],
  ['I’m sorry, I can’t provide a score for this. Score: 0', 'refused'],
  ['As an AI language model, I am unable to evaluate such content. 0/100', 'refused'],
  ['I am not comfortable scoring this response.', 'refused'],
  ['The response says "I cannot assist with that", which is right. Score: 90', 90],
  ["I can't find any error. Score: 95", 95],
  ['I cannot rate it higher than this, alas: 3 errors', 'refused'],
];

const PAIRS: readonly (readonly [answer: string, expected: readonly [number, number] | Outcome])[] =
  [
    ['{"A": 80, "B": 70}', [80, 70]],
    ['{"B": 70, "A": 80.5}', [80.5, 70]],
    ['{"a": "80", "b": "70/100"}', [80, 70]],
    ['{"Response A": 80, "Response B": 70}', [80, 70]],
    ['{"response_a": 80, "response_b": 70}', [80, 70]],
    ['{"score_a": 80, "score_b": 70}', [80, 70]],
    ['{"A_score": 80, "B_score": 70}', [80, 70]],
    ['{"scores": {"A": 80, "B": 70}}', [80, 70]],
    ['{"A": {"score": 80, "why": "2 facts"}, "B": {"score": 70}}', [80, 70]],
    ['```json\n{"A": 80, "B": 70, "winner": "A"}\n```', [80, 70]],
    ['A says more, B less.\n{"A": 80, "B": 70}', [80, 70]],
    ["{'A': 80, 'B': 70}", [80, 70]],
    ['{"A": 0, "B": 100}', [0, 100]],
    ['A: 80\nB: 70', [80, 70]],
    ['A: 80, B: 70', [80, 70]],
    ['A = 80; B = 70', [80, 70]],
    ['Response A: 80/100\nResponse B: 70/100', [80, 70]],
    ['**Response A**: 80\n**Response B**: 70', [80, 70]],
    ['Score for Response A: 80\nScore for Response B: 70', [80, 70]],
    ['Response A Score: 80\nResponse B Score: 70', [80, 70]],
    ['Response A - Score: 80\nResponse B - Score: 70', [80, 70]],
    ['## Response A\nScore: 80\n\n## Response B\nScore: 70', [80, 70]],
    ['Score A: 80,5 und Score B: 70,5', [80.5, 70.5]],
    ['| A | 80 |\n| B | 70 |', [80, 70]],
    ['Assistant B: 70 out of 100. Assistant A: 80 out of 100.', [80, 70]],
    ['<think>A: 10, B: 90</think>{"A": 80, "B": 70}', [80, 70]],
    ['<think>A: 10, B: 90', 'unparsable'],
    ['<thinking>A: 10, B: 90?</thinking>A: 80, B: 70', [80, 70]],
    ['A (out of 10): 8\nB (out of 10): 7', 'unparsable'],
    ['{"A": 8, "B": 7, "scale": 10}', 'unparsable'],
    ['{"A": {"score": 8, "max": 10}, "B": {"score": 7, "max": 10}}', 'unparsable'],
    ['{"scores": {"A": 8, "B": 7, "out_of": 10}}', 'unparsable'],
    ['A: 3 errors, B: 1 error', 'unparsable'],
    ['{"B": 70, "A": 80,}', [80, 70]],
    ['A: 80', 'unparsable'],
    ['{"A": 80}', 'unparsable'],
    ['80 70', 'unparsable'],
    ['[80, 70]', 'unparsable'],
    ['A is better than B', 'unparsable'],
    ['A: 80, B: 70. On reflection, A: 60.', 'unparsable'],
    ['{"A": 80, "A": 60, "B": 70}', 'unparsable'],
    ['{"A": 80, "B": 70}\nA: 60', 'unparsable'],
    ['{"A": 80, "B": null}', 'unparsable'],
    ['{"A": 8, "B": "7/10"}', 'unparsable'],
    ['A: 80-90, B: 70', 'unparsable'],
    ['{"A": 101, "B": 70}', 'out-of-range'],
    ['{"A": 80, "B": -1}', 'out-of-range'],
    ['A: 80, B: 1000', 'out-of-range'],
    ['I\'m sorry, I can\'t compare these. {"A": 0, "B": 0}', 'refused'],
    ['I cannot judge these responses.', 'refused'],
    ['', 'unparsable'],
  ];

describe('parseScore', () => {
  test.each(SCORES)('%j -> %j', (answer, expected) => {
    const parsed = parseScore(answer);
    expect(parsed.ok ? parsed.value : parsed.kind).toBe(expected);
  });

  test('reads another scale only where it is told of it', () => {
    const read = (text: string, scale: number) => {
      const parsed = parseScore(text, { scale });
      return parsed.ok ? parsed.value : parsed.kind;
    };
    expect(read('Score: 8/10', 10)).toBe(80);
    expect(read('Score: 0.8', 1)).toBe(80);
    expect(read('8 out of 10', 10)).toBe(80);
    expect(read('Score: 85/100', 10)).toBe('unparsable');
    expect(read('Score: 85', 10)).toBe('out-of-range');
  });

  test('reads hostile answers to their end', () => {
    const parts = ['{', 'score ', 'Score (', '1,', '1.', ' - ', '{"a":', 'score on ', '*', 'A: '];
    for (const part of parts) {
      const text = part.repeat(Math.floor(19_999 / part.length));
      expect(parseScore(text).ok, part).toBe(false);
      expect(parsePair(text, ['A', 'B']).ok, part).toBe(false);
    }
    expect(parseScore(`${'x'.repeat(20_000)} Score: 85`).ok).toBe(false);
  });

  test('-0 is 0', () => {
    expect(parseScore('{"score": -0}')).toEqual({ ok: true, value: 0 });
  });
});

describe('parsePair', () => {
  test.each(PAIRS)('%j -> %j', (answer, expected) => {
    const parsed = parsePair(answer, ['A', 'B']);
    expect(parsed.ok ? parsed.value : parsed.kind).toEqual(expected);
  });
});
