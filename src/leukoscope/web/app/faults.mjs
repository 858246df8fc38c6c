// What cannot be answered, and why: the English words are exported and are the command line's own; the page shows both.

const EXPECTED = "give one segmented cell on a black surround";
const ESPERADO = "dé una sola célula segmentada sobre fondo negro";

export const FAULTS = {
  en: {
    "no picture": "this is no picture",
    "no surround": `no black surround: {share}% of the outermost pixels are not black; ${EXPECTED}`,
    "all black": `the picture is all black; ${EXPECTED}`,
    "too small": "the largest object has {area} px, a cell has at least {least} px; give the cell at the microscope's full resolution, segmented on a black surround",
    "too large": `the largest object is {w} x {h} px, too large for a cell in a frame of {size} px; ${EXPECTED}`,
    empty: "the file is empty; export the picture again",
    heavy: "the file is larger than 64 MiB; crop the picture to one cell",
    pixels: "has {w} x {h} pixels, more than the {most} of this app; crop the picture to one cell",
    deep: "has 16 bits a channel, which browsers reduce differently; export the picture as 8-bit RGB",
    animated: "is animated: which of its pictures is meant cannot be told; export one as PNG",
    transparent: "has transparent pixels, which browsers round differently; export the picture without transparency",
    damaged: "the {format} data are damaged, cut short, or of a kind that this browser does not decode; export the picture as PNG",
    gif: "is a GIF, which has 256 colours at most; export the picture as PNG",
    tiff: "is a TIFF, which browsers do not decode; export the picture as PNG",
    heic: "is a HEIC picture, which few browsers decode; set the camera to \"most compatible\" or export the picture as PNG",
    video: "is a video or a kind of picture that this app does not read; export one picture as PNG",
    unknown: "is no picture that this app knows; give PNG, BMP, JPEG or WebP",
    "no cell": "no white cell is found in it; tap one in the picture, or give a stained smear, in focus and lit",
    "not finite": "the model gave no finite answer ({logit})",
    // Why labels are not taken back.
    "labels heavy": "the file is larger than 64 MiB: it is no session of this app and no review",
    "labels unread": "the file cannot be read ({why}); choose it again",
    "labels no json": "the file is damaged or of another kind: it is no session of this app and no review",
    "labels foreign": "the file is no session that this app exported and no review of a gallery or of the workbench",
    "labels newer": "the file has version {found}, and this app reads version 1; build the app again with a newer Leukoscope",
    "labels damaged": "the file is damaged (at {where}): nothing was taken from it; export it again",
    // Why a browser gives no answers at all.
    "plain http": "this page must come over https (or from this machine itself): without it nothing can be checked",
    "old browser": "this browser is too old for the app; use a current Chrome, Edge, Firefox or Safari",
    "no simd": "this browser has no WebAssembly with SIMD, which the model needs; use a current Chrome, Edge, Firefox or Safari",
    "no worker": "the part that answers cannot be started in this browser ({why})",
    "no file": "{name} cannot be loaded ({why}); load the page again with a network",
    "another file": "{name} is not the file that this app was built with; load the page again with a network",
    "newer bundle": "the bundle has format {found}, and this app reads format {known}; build the app again with a newer Leukoscope",
    "altered pixels": "this browser alters the pixels of pictures (a protection against tracking does so), and no answer about altered pictures is given; allow this page to read canvases, or use another browser",
    "self-test": "the self-test failed: {what} is {found}, {right} is right",
  },
  es: {
    "no picture": "esto no es una imagen",
    "no surround": `sin fondo negro: el {share} % de los píxeles exteriores no es negro; ${ESPERADO}`,
    "all black": `la imagen es toda negra; ${ESPERADO}`,
    "too small": "el objeto mayor tiene {area} px y una célula tiene al menos {least} px; dé la célula con toda la resolución del microscopio, segmentada sobre fondo negro",
    "too large": `el objeto mayor tiene {w} x {h} px, demasiado para una célula en un marco de {size} px; ${ESPERADO}`,
    empty: "el archivo está vacío; exporte la imagen de nuevo",
    heavy: "el archivo supera 64 MiB; recorte la imagen a una célula",
    pixels: "tiene {w} x {h} píxeles, más de los {most} de esta aplicación; recorte la imagen a una célula",
    deep: "tiene 16 bits por canal, que los navegadores reducen de formas distintas; exporte la imagen como RGB de 8 bits",
    animated: "está animada: no se sabe cuál de sus imágenes vale; exporte una como PNG",
    transparent: "tiene píxeles transparentes, que los navegadores redondean de formas distintas; exporte la imagen sin transparencia",
    damaged: "los datos {format} están dañados, incompletos o son de un tipo que este navegador no lee; exporte la imagen como PNG",
    gif: "es un GIF, que tiene 256 colores como mucho; exporte la imagen como PNG",
    tiff: "es un TIFF, que los navegadores no leen; exporte la imagen como PNG",
    heic: "es una imagen HEIC, que pocos navegadores leen; ponga la cámara en «más compatible» o exporte la imagen como PNG",
    video: "es un vídeo o un tipo de imagen que esta aplicación no lee; exporte una imagen como PNG",
    unknown: "no es una imagen que esta aplicación conozca; dé PNG, BMP, JPEG o WebP",
    "no cell": "no se encuentra ninguna célula blanca; toque una en la imagen o dé un frotis teñido, enfocado e iluminado",
    "not finite": "el modelo no dio una respuesta finita ({logit})",
    "labels heavy": "el archivo supera 64 MiB: no es una sesión de esta aplicación ni una revisión",
    "labels unread": "el archivo no se puede leer ({why}); elíjalo otra vez",
    "labels no json": "el archivo está dañado o es de otra clase: no es una sesión de esta aplicación ni una revisión",
    "labels foreign": "el archivo no es una sesión exportada por esta aplicación ni una revisión de una galería o del puesto de trabajo",
    "labels newer": "el archivo tiene la versión {found} y esta aplicación lee la versión 1; construya la aplicación con un Leukoscope más nuevo",
    "labels damaged": "el archivo está dañado (en {where}): nada se ha tomado de él; expórtelo otra vez",
    "plain http": "esta página debe llegar por https (o de esta misma máquina): sin ello nada se puede comprobar",
    "old browser": "este navegador es demasiado antiguo para la aplicación; use un Chrome, Edge, Firefox o Safari actual",
    "no simd": "este navegador no tiene WebAssembly con SIMD, que el modelo necesita; use un Chrome, Edge, Firefox o Safari actual",
    "no worker": "la parte que responde no arranca en este navegador ({why})",
    "no file": "{name} no se puede cargar ({why}); cargue la página otra vez con red",
    "another file": "{name} no es el archivo con que se construyó esta aplicación; cargue la página otra vez con red",
    "newer bundle": "el modelo tiene el formato {found} y esta aplicación lee el formato {known}; construya la aplicación con un Leukoscope más nuevo",
    "altered pixels": "este navegador altera los píxeles de las imágenes (lo hace una protección contra el rastreo) y no se responde sobre imágenes alteradas; permita a esta página leer lienzos o use otro navegador",
    "self-test": "la autocomprobación falló: {what} es {found}, lo correcto es {right}",
  },
};

/** A fault in the words of a language. */
export function inLanguage(language, key, places) {
  return Object.entries(places).reduce((text, [name, value]) => text.replace(`{${name}}`, () => value), FAULTS[language][key]);
}

/** What cannot be answered; the message is English, key and places say it in any language. */
export class Fault extends Error {
  constructor(key, places = {}) {
    super(inLanguage("en", key, places));
    Object.assign(this, { key, places });
  }
}
