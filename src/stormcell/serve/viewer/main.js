// The page: it joins the map, the frames, the timeline and the server's news.

import { Alerts } from "./alerts.js";
import { bannersFor, showBanners } from "./banners.js";
import { Basemap } from "./basemap.js";
import { showClock } from "./clock_face.js";
import { ColourBar } from "./colour_bar.js";
import { connectKeys, connectSettings } from "./controls.js";
import { blindShare, isBeyond } from "./coverage.js";
import { framesOf, nowIn, Pictures } from "./frames.js";
import { Labels } from "./labels.js";
import { colourTitle, fillLayers, layerOf } from "./layers.js";
import * as link from "./link.js";
import { createMap, fit, reveal } from "./map.js";
import { Palettes } from "./palettes.js";
import { Place } from "./place.js";
import { Player } from "./player.js";
import { followPointer } from "./pointer.js";
import { boundsOf, Rain, seenBoundsOf } from "./rain.js";
import { embedded, isDark, onSystemTheme, settings } from "./settings.js";
import { Skill } from "./skill.js";
import { Timeline } from "./timeline.js";
import { nameOf } from "./times.js";
import { getJson, serverNow, Updates } from "./updates.js";

const EXTRAPOLATION = "extrapolation";
const part = (id) => document.getElementById(id);
const known = {
  connected: true,
  latest: null,
  manifest: null,
  status: null,
  alerts: null,
  blind: 0,
  beyond: false,
};
const site = getJson("site.json").catch(() => ({}));
const asked = link.read(); // what the address wants; its time holds until the reader moves
let wantedLayer = asked.layer;
let newest = 0; // number of the newest issue that came
let shown = 0; // number of the newest layer that was asked for
let compared = null; // name of the layer that extrapolation is compared with
let begun = false; // whether the map shows a place

const map = createMap(part("map"));
const basemap = new Basemap(map);
const labels = new Labels(map, basemap);
const rain = new Rain(map);
const palettes = new Palettes();
const bar = new ColourBar(part("colour-bar"));
const place = new Place(map, part("place"), (latlng) => labels.near(latlng));
const alerts = new Alerts(map, part("alerts").querySelector("ul"), part("alerts-open"));
const skill = new Skill(part("skill"));
const pictures = new Pictures(pictureCame);
const player = new Player((index) => pictures.get(player.frames[index].url) !== undefined, draw);
const timeline = new Timeline(part("slider"), part("ticks"), (index) => player.step(index - player.index));

/** Take a new latest.json: show its publication as soon as its first picture is there. */
async function take(latest) {
  if (JSON.stringify(latest) === JSON.stringify(known.latest)) return;
  const number = ++newest;
  const folder = `${nameOf(new Date(latest.issue))}-${latest.run}`;
  const manifest = await getJson(`${folder}/manifest.json`).catch(() => null);
  if (!manifest || number !== newest) return; // it is asked for again with the next news
  Object.assign(known, { latest, manifest });
  rain.place(manifest, settings.opacity / 100);
  fillLayers(part("layer"), manifest, wantedLayer);
  showCredits(manifest.attributes);
  await showLayer();
  if (!begun) begin(manifest);
  place.refresh();
}

/** Name whose data and map these are. */
async function showCredits({ source, license }) {
  const { basemap: tiles, credit } = await site;
  const map = tiles ? [credit] : ["Natural Earth", "GeoNames"];
  part("credits").textContent = [source, license, ...map, "Leaflet"].filter(Boolean).join(" · ");
}

/** Make the frames of the layer anew, and keep the time in view. */
async function showLayer() {
  const number = ++shown;
  const before = player.frame?.time ?? asked.time;
  const follows = !before || (!player.playing && player.index === nowIn(player.frames) && player.frames.length > 0);
  const frames = framesOf(known.latest, known.manifest, layer().name);
  const same = follows ? -1 : frames.findIndex(({ time }) => time - before === 0);
  const index = same < 0 ? nowIn(frames) : same;
  await Promise.allSettled([pictures.load(frames[index]?.url), palettes.prepare(pictures, frames[index])]);
  if (number !== shown) return;
  timeline.set(frames, nowIn(frames));
  player.set(frames, index);
  pictures.want(frames, index);
  timeline.mark((at) => pictures.get(frames[at].url) !== undefined);
}

const layer = () => layerOf(known.manifest, wantedLayer);

async function begin(manifest) {
  begun = true;
  const bounds = boundsOf(manifest.raster);
  const picture = pictures.get(player.frame?.url);
  map.setMaxBounds(bounds.pad(5));
  if (asked.place) map.setView(asked.place, asked.place.zoom);
  else fit(map, picture ? seenBoundsOf(manifest.raster, picture) : bounds, part("legend"), part("player"));
  remember();
  map.on("moveend", remember);
  map.on("moveend", lookBeyond);
  map.on("zoomend", () => player.frame && showWhole(player.frame).catch(() => null));
  map.on("click", ({ latlng }) => openPlace(latlng));
  followPointer(map, part("under-pointer"), bar, rain, () => {
    const kind = player.frame?.kind;
    return kind ? { kind, encoding: known.manifest.encodings[kind] } : null;
  });
  const { basemap: tiles } = await site;
  if (tiles) basemap.useTiles(tiles);
  else
    basemap.follow(() => {
      labels.draw();
      place.name();
    });
}

const observedPictures = () =>
  player.frames.map(({ observed, url }) => observed && pictures.get(url)).filter(Boolean);

function lookBeyond() {
  known.beyond = isBeyond(map.getBounds(), rain, observedPictures());
  warn();
}

function pictureCame(url) {
  const { frames, frame } = player;
  timeline.mark((index) => pictures.get(frames[index]?.url) !== undefined);
  if (frame?.url === url) draw();
  if (!pictures.complete) return;
  known.blind = blindShare(observedPictures());
  lookBeyond();
}

/** Show all pixels of a frame that stays in view, where the animation has a smaller picture. */
async function showWhole(frame) {
  if (player.playing || frame !== player.frame || frame.whole === frame.url || !rain.magnified) return;
  const picture = await pictures.fetch(frame.whole);
  if (!player.playing && frame === player.frame) rain.show(picture, palettes.of(picture), frame.url);
}

/** Show the frame that the player is at. */
function draw() {
  const { frame, frames, index } = player;
  document.body.classList.toggle("playing", player.playing);
  part("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  if (!frame) return;
  const picture = pictures.get(frame.url);
  if (picture) {
    const colours = palettes.of(picture);
    rain.show(picture, colours, frame.url);
    bar.show(colourTitle(frame, layer()), frame.kind, known.manifest.encodings[frame.kind], colours);
    setTimeout(() => showWhole(frame).catch(() => null), 400);
  }
  timeline.show(index);
  showClock(frame, frames[nowIn(frames)].time, picture !== undefined);
  remember();
}

/** Keep the view in the address. While it plays or shows now, the time is "now". */
function remember() {
  if (!begun || !player.frame) return;
  const { lat, lng: lon } = map.getCenter();
  const moved = !player.playing && player.index !== nowIn(player.frames);
  const view = { lat, lon, zoom: map.getZoom(), time: moved ? player.frame.time : null, layer: layer().name };
  link.write(view);
  part("whole").href = `./${link.text(view)}`;
}

function warn() {
  showBanners(part("banners"), bannersFor({ ...known, now: serverNow() }));
}

function look() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  basemap.restyle();
}

async function recolour() {
  await palettes.prepare(pictures, player.frame);
  draw();
}

async function openPlace(latlng) {
  await place.open(latlng);
  reveal(map, latlng, part("place"));
}

/** Show extrapolation, or again what it was compared with. */
function compare() {
  if (!known.manifest) return;
  const { name } = layer();
  choose(name === EXTRAPOLATION ? compared : EXTRAPOLATION);
  compared = name;
}

function choose(name) {
  wantedLayer = name;
  part("layer").value = layer().name;
  showLayer();
}

document.body.classList.toggle("embedded", embedded);
player.speed = settings.speed;
look();
onSystemTheme(() => (look(), recolour()));
part("back").addEventListener("click", () => player.step(-1));
part("forward").addEventListener("click", () => player.step(1));
part("play").addEventListener("click", () => player.toggle());
part("layer").addEventListener("change", (event) => choose(event.target.value));
part("skill-open").addEventListener("click", async () => skill.open(await getJson("scores.json").catch(() => null)));
connectKeys(part("map"), {
  back: () => player.step(-1),
  forward: () => player.step(1),
  play: () => player.toggle(),
  now: () => player.step(nowIn(player.frames) - player.index),
  compare,
  centre: () => openPlace(map.getCenter()),
  close: () => place.close(),
});
connectSettings(part("settings"), (name) => {
  if (name === "opacity") rain.setOpacity(settings.opacity / 100);
  if (name === "speed") player.speed = settings.speed;
  if (name === "theme") look();
  if (name === "theme" || name === "palette") recolour();
  if (name === "clock") timeline.set(player.frames, nowIn(player.frames));
  if (name === "clock") draw();
});
addEventListener("hashchange", () => location.reload());
setInterval(warn, 5000);
new Updates({
  latest: (latest) => take(latest).then(warn),
  status: (status) => ((known.status = status), warn()),
  alerts: (found) => ((known.alerts = found), alerts.show(found), warn()),
  connected: (connected) => ((known.connected = connected), warn()),
}).start();
