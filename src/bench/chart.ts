import type { DecodingReport, Variant } from './decoding.js';

const WIDTH = 760;
const HEIGHT = 300;
/** Without a quoted name: the renderer writes fonts into attributes as they are. */
const FONT = 'system-ui, sans-serif';
/** Readable on white and on near-black. */
const BARS: Record<Variant, string> = {
  plain: '#8a93a0',
  sda: '#2f81f7',
  sequential: '#c98a2b',
};
const LIMIT = '#d1495b';
/** Text and lines follow the reader's light or dark scheme, through CSS. */
const INK = 'currentColor';
const STYLE =
  '<style>svg{color:#24292f}@media (prefers-color-scheme:dark){svg{color:#e6edf3}}</style>';

const LABELS: Record<Variant, string> = {
  plain: 'plain decoding, one stream',
  sda: 'SDA, both streams in one forward',
  sequential: 'SDA, two forwards',
};

/**
 * A bar chart of milliseconds a decode step, with the memory limit of SDA as a line.
 *
 * @param title what was measured, such as the model's name
 * @param subtitle the machine
 * @returns an SVG document
 */
export async function stepChart(
  { variants }: Pick<DecodingReport, 'variants'>,
  title: string,
  subtitle: string,
): Promise<string> {
  const [{ init, use }, { BarChart, CustomChart }, parts, { SVGRenderer }] = await Promise.all([
    import('echarts/core.js'),
    import('echarts/charts.js'),
    import('echarts/components.js'),
    import('echarts/renderers.js'),
  ]);
  const { GridComponent, MarkLineComponent, TitleComponent } = parts;
  use([BarChart, CustomChart, GridComponent, MarkLineComponent, TitleComponent, SVGRenderer]);
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  try {
    chart.setOption(option(variants, title, subtitle));
    const svg = chart.renderToSVGString();
    return svg.replace('>', `>${STYLE}`);
  } finally {
    chart.dispose();
  }
}

function option(variants: DecodingReport['variants'], title: string, subtitle: string) {
  const order: Variant[] = ['sequential', 'sda', 'plain']; // the axis counts from below
  const bar = (variant: Variant) => {
    const { stepMs, tokensPerSecond } = variants[variant];
    const label = `${stepMs.median.toFixed(1)} ms, ${tokensPerSecond.median.toFixed(0)} tokens/s`;
    return {
      value: stepMs.median,
      itemStyle: { color: BARS[variant] },
      label: { formatter: label },
    };
  };
  const { limitMs } = variants.sda;
  return {
    animation: false,
    backgroundColor: 'transparent',
    textStyle: { fontFamily: FONT, color: INK },
    title: {
      text: title,
      subtext: subtitle,
      left: 16,
      top: 10,
      textStyle: { fontSize: 15, fontWeight: 600, color: INK, fontFamily: FONT },
      subtextStyle: { fontSize: 12, color: INK, fontFamily: FONT },
    },
    grid: { left: 250, right: 190, top: 90, bottom: 48 }, // labels stand in the margins,
    xAxis: {
      type: 'value',
      name: 'ms a decode step (shorter is better)',
      nameLocation: 'middle',
      nameGap: 28,
      nameTextStyle: { fontSize: 12, color: INK },
      axisLabel: { fontSize: 12, color: INK },
      splitLine: { lineStyle: { color: INK, opacity: 0.12 } },
    },
    yAxis: {
      type: 'category',
      data: order.map((variant) => LABELS[variant]),
      axisLabel: { fontSize: 13, color: INK },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: INK, opacity: 0.4 } },
    },
    series: [
      {
        type: 'bar',
        silent: true,
        barWidth: 26,
        data: order.map(bar),
        label: { show: true, position: 'right', distance: 12, fontSize: 13, color: INK },
        markLine: {
          symbol: 'none',
          silent: true,
          data: [{ xAxis: limitMs }],
          lineStyle: { color: LIMIT, width: 2, type: 'dashed' },
          label: {
            formatter: `memory limit of SDA, ${limitMs.toFixed(1)} ms`,
            color: LIMIT,
            fontSize: 12,
            position: 'end',
            align: 'left',
          },
        },
      },
      spread(order, variants),
    ],
  };
}

/** Whiskers from the 20th to the 80th percentile. */
function spread(order: readonly Variant[], variants: DecodingReport['variants']) {
  return {
    type: 'custom',
    silent: true,
    z: 3,
    data: order.map((variant, index) => {
      const { p20, p80 } = variants[variant].stepMs;
      return [index, p20, p80];
    }),
    encode: { x: [1, 2], y: 0 },
    renderItem: (_: unknown, api: WhiskerApi) => {
      const [from, y] = api.coord([api.value(1), api.value(0)]);
      const [to] = api.coord([api.value(2), api.value(0)]);
      const line = (x1: number, y1: number, x2: number, y2: number) => ({
        type: 'line',
        shape: { x1, y1, x2, y2 },
        style: { stroke: INK, lineWidth: 1.5 },
      });
      return {
        type: 'group',
        children: [
          line(from!, y!, to!, y!),
          line(from!, y! - 5, from!, y! + 5),
          line(to!, y! - 5, to!, y! + 5),
        ],
      };
    },
  };
}

interface WhiskerApi {
  value(dimension: number): number;
  coord(values: readonly [number, number]): number[];
}
