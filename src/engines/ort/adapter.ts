/** Which device WebGPU computes on here, and what to do where there is none. */
import { execFile, type ExecFileException } from "node:child_process"
import { Effect } from "effect"
import { libraryFile, withoutTelemetry } from "./library.ts"
import { encodeModel, vectorModel } from "./onnx.ts"
import { webgpuOpset } from "./protocol.ts"

/** What to do, for each platform that ONNX Runtime has WebGPU for. */
const advice: { readonly [platform: string]: string } = {
  linux: "install the driver of your GPU and the Vulkan loader (Debian: apt install libvulkan1 mesa-vulkan-drivers)",
  darwin: "it needs a Mac with Metal",
  win32: "it needs Direct3D 12: update the driver of your GPU"
}

/** What went wrong when the device was asked for; where there is no adapter, what to do about it. */
export const withoutAdapter = (message: string, platform: string = process.platform): string => {
  if (/executionProviders.* is unsupported/.test(message))
    return `the onnxruntime-node of this platform (${platform} ${process.arch}) has no WebGPU`
  if (!message.includes("Failed to get a WebGPU adapter")) return message
  return `no WebGPU adapter was found; ${advice[platform] ?? "none is known for this platform"}`
}

/** Looks for the device, as the engine does. */
const probe = `
const ort = require(process.argv[1])
ort.InferenceSession.create(Buffer.from(process.argv[2], "base64"), { executionProviders: ["webgpu"], logSeverityLevel: 4 })
`

/**
 * The name of the device that WebGPU computes on; undefined where it has none that can be found out. ONNX Runtime does not tell: on Linux the Vulkan loader
 * does, when a process is started with `VK_LOADER_DEBUG`. Fails where there is no device, with the reason: the process keeps to itself what native code
 * prints about that.
 */
export const findAdapter: Effect.Effect<string | undefined, string> = Effect.callback(resume => {
  const model = Buffer.from(encodeModel(vectorModel("Identity", "f32", 1), webgpuOpset)).toString("base64")
  execFile(
    process.execPath,
    ["-e", probe, libraryFile(), model],
    { env: { ...withoutTelemetry(), VK_LOADER_DEBUG: "all" }, maxBuffer: 2 ** 26 },
    (failed, _, said) =>
      resume(failed === null ? Effect.succeed(deviceInLog(said)) : Effect.fail(withoutAdapter(reasonIn(failed, said))))
  )
})

/** What the process died of, of all that it said. */
export const reasonIn = ({ code, signal }: Pick<ExecFileException, "code" | "signal">, said: string): string =>
  /^Error: (.*)$/m.exec(said)?.[1] ?? `the process that looks for the device ended with ${signal ?? code}`

/** The device that was created last, in what the Vulkan loader writes to standard error. */
export const deviceInLog = (log: string): string | undefined =>
  [...log.matchAll(/Using "(.+?)" with driver:/g)].at(-1)?.[1]
