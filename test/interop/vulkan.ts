/** A GPU in software for the tests of WebGPU: SwiftShader and the Vulkan loader, out of a package of npm that ships them with Chromium. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { brotliDecompressSync } from "node:zlib"

const source = "@sparticuz/chromium@153.0.0"
const wanted = ["libvulkan.so.1", "libvk_swiftshader.so", "vk_swiftshader_icd.json"]

/** The environment variable that is set where the software GPU can be used. */
export const vulkanVariable = "INTEROP_VULKAN"

/** The environment in which a process finds the software GPU, in a directory that is filled where need be; or why it cannot be had. */
export const softwareVulkan = (directory: string): NodeJS.ProcessEnv | string => {
  if (process.platform !== "linux" || process.arch !== "x64")
    return `the software GPU is for Linux on x64, not ${process.platform} on ${process.arch}`
  const marker = join(directory, "source")
  if (!existsSync(marker) || readFileSync(marker, "utf8") !== source) {
    const obstacle = fill(directory)
    if (obstacle !== undefined) return obstacle
    writeFileSync(marker, source)
  }
  return {
    [vulkanVariable]: directory,
    LD_LIBRARY_PATH: [directory, process.env["LD_LIBRARY_PATH"]].filter(Boolean).join(":"),
    VK_DRIVER_FILES: join(directory, "vk_swiftshader_icd.json")
  }
}

const fill = (directory: string): string | undefined => {
  console.log(`filling ${directory} from ${source}`)
  rmSync(directory, { recursive: true, force: true })
  const work = join(directory, "work")
  mkdirSync(work, { recursive: true })
  const run = (command: string, ...flags: ReadonlyArray<string>) => {
    const { error, status, stderr } = spawnSync(command, flags, { cwd: work, encoding: "utf8" })
    return status === 0 ? undefined : `${command} failed: ${error?.message ?? stderr.trim().split("\n")[0]}`
  }
  const fetched = run("npm", "pack", source)
  if (fetched !== undefined) return `${source} cannot be had: ${fetched}`
  const packed = readdirSync(work).find(name => name.endsWith(".tgz"))!
  const member = "package/bin/swiftshader.tar.br"
  const taken = run("tar", "-xzf", packed, member)
  if (taken !== undefined) return taken
  writeFileSync(join(work, "swiftshader.tar"), brotliDecompressSync(readFileSync(join(work, member))))
  const unpacked = run("tar", "-xf", "swiftshader.tar")
  if (unpacked !== undefined) return unpacked
  for (const name of wanted) renameSync(join(work, name), join(directory, name))
  rmSync(work, { recursive: true })
  return undefined
}
