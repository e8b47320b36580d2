/** Draws charts and panels with ECharts, as SVG text: without styles, with ids of its own, the same in every run. */
import { BarChart, CustomChart, LineChart, ScatterChart } from "echarts/charts"
import { GridComponent, LegendPlainComponent, TitleComponent } from "echarts/components"
import { type EChartsCoreOption, init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"
import { escape } from "./html.ts"

use([BarChart, CustomChart, LineChart, ScatterChart, GridComponent, LegendPlainComponent, TitleComponent, SVGRenderer])

export interface Drawing {
  /** Begins the ids within the picture, and must be unique in a page. */
  readonly name: string
  /** What a screen reader says. */
  readonly title: string
  /** Pixels. */
  readonly width: number
  readonly height: number
}

export const draw = ({ height, name, title, width }: Drawing, option: EChartsCoreOption): string => {
  const chart = init(null, null, { renderer: "svg", ssr: true, width, height })
  try {
    chart.setOption({ animation: false, ...option })
    return (
      chart
        .renderToSVGString()
        // Styles are those of pointers, and nothing reacts to one; ids count up with every chart of the process.
        .replace(/<style[^>]*>[^]*?<\/style>/, "")
        .replaceAll(/ class="zr\d+-cls-\d+"| ecmeta_\w+="[^"]*"/g, "")
        .replaceAll(/\bzr\d+-/g, `${name}-`)
        .replace("<svg ", `<svg role="img" aria-label="${escape(title)}" `)
    )
  } finally {
    chart.dispose()
  }
}

/** What a custom series is handed to find pixels with. */
export interface Coordinates {
  readonly coord: (point: readonly [number, number]) => ReadonlyArray<number>
  readonly size: (extent: readonly [number, number]) => ReadonlyArray<number>
}
