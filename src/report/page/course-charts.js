/** JS and T by token position: for each run a pair of charts, medians with the band of the quartiles. */
report.courses = (parent, runs) => {
  const { make } = report;
  const shown = runs.filter(({ courses }) => courses.length > 0);
  const quantities = [
    { key: 'js', title: 'JS, nats', told: 'Jensen-Shannon divergence by token position' },
    { key: 'temperature', title: 'T', told: 'Temperature by token position' },
  ];
  // one scale for all runs
  const top = Object.fromEntries(
    quantities.map(({ key }) => [
      key,
      Math.max(
        0,
        ...shown.flatMap(({ courses }) =>
          courses.flatMap((course) => course[key].map((each) => each?.[2] ?? 0)),
        ),
      ),
    ]),
  );
  for (const run of shown) {
    const pair = make('div', { class: 'pair' });
    if (runs.length > 1) parent.append(make('h3', {}, run.name));
    parent.append(pair);
    for (const { key, title, told } of quantities) {
      const element = report.chartBox(pair, { title, told, height: 270 });
      report.chart(element, () => options(run.courses, key));
    }
  }

  function options(courses, key) {
    return {
      legend: report.legendStyle({
        type: 'scroll',
        left: 30,
        itemWidth: 34,
        data: courses.map(({ method }) => method),
      }),
      tooltip: report.tooltipStyle({
        valueFormatter: (value) =>
          value === undefined || value === null ? '-' : Number(value).toPrecision(3),
      }),
      grid: { left: 8, right: 20, top: 34, bottom: 34, containLabel: true },
      xAxis: report.axisStyle({
        type: 'value',
        name: 'token',
        nameLocation: 'middle',
        nameGap: 26,
        min: 1,
        max: 'dataMax',
        minInterval: 1,
      }),
      yAxis: report.axisStyle({ type: 'value', min: 0, max: niceEnd(top[key]) }),
      series: courses.flatMap((course, index) => lines(course, key, index)),
    };
  }

  function niceEnd(value) {
    const step = 10 ** Math.floor(Math.log10(value || 1));
    return Number((Math.max(1, Math.ceil(value / step)) * step).toPrecision(2));
  }

  function lines(course, key, index) {
    const line = report.lineOf(course.method);
    const at = (pick) => course[key].map((each, i) => [i + 1, each === null ? null : pick(each)]);
    const band = {
      type: 'line',
      stack: `band ${index}`,
      stackStrategy: 'all',
      symbol: 'none',
      silent: true,
      lineStyle: { opacity: 0 },
      tooltip: { show: false },
    };
    const few = course[key].length < 2;
    const quartiles = course.count[0] > 1;
    return [
      ...(quartiles
        ? [
            { ...band, data: at(([low]) => low) },
            {
              ...band,
              data: at(([low, , high]) => high - low),
              areaStyle: { color: line.color, opacity: 0.1 },
            },
          ]
        : []),
      {
        name: course.method,
        type: 'line',
        symbol: few ? 'circle' : 'none',
        lineStyle: { ...line, width: quartiles ? 2 : 1.5 },
        itemStyle: { color: line.color },
        data: at(([, median]) => median),
      },
    ];
  }
};
