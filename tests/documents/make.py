"""Makes the sample documents of this folder: an authority's files as they come, PDFs and scans among them.

All of them were made for this purpose. They name roles, offices and file numbers, never a person.
The same program makes the same bytes again: python3 make.py (needs reportlab, Pillow, python-docx, openpyxl).
"""

import io
import json
import random
import re
import zipfile
from datetime import datetime, timezone
from pathlib import Path

import docx
import openpyxl
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

HERE = Path(__file__).parent
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"
WHEN = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc).replace(tzinfo=None)
AKTE = "7 412 003 - 999"

LETTERS = {
    "bescheid-asylantrag": ("Bundesamt für Migration und Flüchtlinge", "Bescheid", [
        "In dem Asylverfahren zum Aktenzeichen " + AKTE + " ergeht folgende Entscheidung:",
        "1. Die Flüchtlingseigenschaft wird zuerkannt.",
        "2. Der Bescheid ergeht kostenfrei.",
        "Begründung: Der Antrag wurde am 12. Januar 2026 gestellt. Die persönliche Anhörung fand statt.",
        "Das Ergebnis der Anhörung und die vorgelegten Unterlagen tragen die Entscheidung.",
        "Rechtsbehelfsbelehrung: Gegen diesen Bescheid kann innerhalb von zwei Wochen Klage erhoben werden."]),
    "bescheid-asylantrag-berichtigt": ("Bundesamt für Migration und Flüchtlinge", "Berichtigter Bescheid", [
        "Der Bescheid zum Aktenzeichen " + AKTE + " wird wegen eines Schreibfehlers neu gefasst.",
        "1. Die Flüchtlingseigenschaft wird zuerkannt.",
        "2. Der Bescheid vom 2. März 2026 wird durch diesen ersetzt."]),
    "niederschrift-anhoerung": ("Bundesamt für Migration und Flüchtlinge", "Niederschrift der Anhörung", [
        "Aktenzeichen " + AKTE + ". Beginn 9:00 Uhr, Ende 11:40 Uhr. Sprache: Tigrinya.",
        "Anwesend: Entscheiderin, antragstellende Person, Sprachmittlung.",
        "Die antragstellende Person wurde über den Ablauf belehrt und hat keine Einwände."]),
    "ladung-anhoerung": ("Bundesamt für Migration und Flüchtlinge", "Ladung zur Anhörung", [
        "Sie werden zur persönlichen Anhörung am 9. Februar 2026 um 9:00 Uhr geladen.",
        "Bringen Sie diese Ladung und Ihre Aufenthaltsgestattung mit."]),
    "zuweisung-landkreis": ("Landesdirektion Sachsen", "Zuweisungsbescheid", [
        "Die Person zum Aktenzeichen " + AKTE + " wird der Stadt Leipzig zugewiesen.",
        "Die Verteilung erfolgt nach dem Königsteiner Schlüssel."]),
    "aufenthaltsgestattung": ("Landesdirektion Sachsen", "Aufenthaltsgestattung", [
        "Der Aufenthalt ist bis zum Abschluss des Verfahrens gestattet.", "Gültig bis 1. September 2026."]),
    "aufenthaltserlaubnis": ("Stadt Leipzig, Ausländerbehörde", "Aufenthaltserlaubnis", [
        "Nach § 25 Absatz 2 AufenthG wird die Aufenthaltserlaubnis für drei Jahre erteilt."]),
    "wohnsitzauflage-aufhebung": ("Stadt Leipzig, Ausländerbehörde", "Aufhebung der Wohnsitzauflage", [
        "Die Wohnsitzauflage vom 14. Januar 2026 wird aufgehoben."]),
    "eingangsbestaetigung-klage": ("Verwaltungsgericht Leipzig", "Eingangsbestätigung", [
        "Der Eingang der Klage zum Aktenzeichen 4 K 999/26 wird bestätigt."]),
    "akteneinsicht": ("Verwaltungsgericht Leipzig", "Gewährung von Akteneinsicht", [
        "Die Behördenakte wird für die Dauer von drei Tagen zur Einsicht bereitgestellt."]),
    "merkblatt-rechte-pflichten": ("Bundesamt für Migration und Flüchtlinge", "Merkblatt: Rechte und Pflichten", [
        "Dieses Merkblatt ist öffentlich.", "Sie haben das Recht auf eine Sprachmittlung.",
        "Teilen Sie jede neue Anschrift sofort mit."]),
    "zustellungsurkunde": ("Stadt Leipzig, Ausländerbehörde", "Zustellungsurkunde", [
        "Das Schriftstück wurde am 4. März 2026 um 10:15 Uhr übergeben."]),
}

NOTES = {
    "vermerk-telefonat.txt": "Vermerk\n\nAz. " + AKTE + "\nTelefonat mit der Aufnahmeeinrichtung: Verlegung ist für den 20. Januar geplant.\n",
    "vermerk-fristen.md": "# Fristen\n\n| Was | Bis |\n| --- | --- |\n| Klagefrist | 18.03.2026 |\n| Gestattung | 01.09.2026 |\n",
    "verfuegung.txt": "Verfügung\n\n1. Vermerk fertigen.\n2. Abschrift an die Ausländerbehörde.\n3. Wiedervorlage: ein Monat.\n",
    "uebergabeprotokoll.csv": "lfd_nr;schriftstueck;blatt\n1;Antrag;1-4\n2;Niederschrift;5-19\n3;Bescheid;20-31\n",
    "statistik-zugaenge.csv": "monat;zugaenge\n2026-01;118\n2026-02;97\n",
    "hinweisblatt.html": "<!doctype html><html lang=\"de\"><meta charset=\"utf-8\"><title>Hinweis</title><p>Bitte Termin vereinbaren.</p></html>\n",
    "schnittstelle.json": json.dumps({"aktenzeichen": AKTE, "status": "entschieden", "blatt": 31}, ensure_ascii=False, indent=1) + "\n",
    "xavia-nachricht.xml": "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<nachricht art=\"bescheid\">\n  <aktenzeichen>" + AKTE + "</aktenzeichen>\n  <ereignis datum=\"2026-03-02\">Bescheid erlassen</ereignis>\n</nachricht>\n",
    "begleitschreiben.eml": "From: poststelle@bamf.example\nTo: auslaenderbehoerde@leipzig.example\nDate: Mon, 02 Mar 2026 09:00:00 +0000\nSubject: Bescheid zur Kenntnis\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nAnbei der Bescheid zum Aktenzeichen " + AKTE + ".\n",
    "lageplan.svg": "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"80\" height=\"60\"><title>Lageplan</title><rect x=\"5\" y=\"5\" width=\"70\" height=\"50\" fill=\"none\" stroke=\"black\"/></svg>\n",
    "leeres-blatt.txt": "",
}


def pdf(lines_of, target):
    page = canvas.Canvas(str(target), pagesize=A4, invariant=1)
    office, title, lines = lines_of
    page.setTitle(title)
    page.setFont("Times-Roman", 10)
    page.drawString(60, 790, office)
    page.setFont("Times-Bold", 15)
    page.drawString(60, 730, title)
    page.setFont("Times-Roman", 11)
    height = 695
    for line in lines:
        page.drawString(60, height, line)
        height -= 22
    page.save()


def scan(lines_of, seed, size=(1240, 1754)):
    """A page as a scanner sees it: skewed, grey, speckled, stamped."""
    rng = random.Random(seed)
    office, title, lines = lines_of
    page = Image.new("L", size, 246)
    draw = ImageDraw.Draw(page)
    draw.text((120, 110), office, font=ImageFont.truetype(FONT, 26), fill=40)
    draw.text((120, 260), title, font=ImageFont.truetype(FONT, 40), fill=25)
    for at, line in enumerate(lines):
        draw.text((120, 370 + 52 * at), line[:80], font=ImageFont.truetype(FONT, 24), fill=45)
    draw.ellipse((820, 1250, 1080, 1510), outline=110, width=6)
    draw.text((868, 1360), "EINGANG\n02. MRZ. 2026", font=ImageFont.truetype(FONT, 22), fill=110)
    page = page.rotate(rng.uniform(-1.2, 1.2), fillcolor=238, resample=Image.Resampling.BICUBIC)
    for _ in range(900):
        page.putpixel((rng.randrange(size[0]), rng.randrange(size[1])), rng.randrange(60, 200))
    return page.filter(ImageFilter.GaussianBlur(0.6))


def scans():
    pages = {name: scan(LETTERS[name], name) for name in
             ("zustellungsurkunde", "aufenthaltsgestattung", "ladung-anhoerung", "niederschrift-anhoerung")}
    pages["zustellungsurkunde"].save(HERE / "scan-zustellungsurkunde.jpg", quality=60, dpi=(150, 150))
    pages["aufenthaltsgestattung"].resize((620, 877)).save(HERE / "scan-aufenthaltsgestattung.png", optimize=True)
    fax = pages["ladung-anhoerung"].point(lambda grey: 255 if grey > 150 else 0).convert("1")
    fax.save(HERE / "fax-ladung.tif", compression="group4", dpi=(150, 150))
    photo = Image.merge("RGB", [pages["niederschrift-anhoerung"].resize((620, 877))] * 3)
    photo.save(HERE / "foto-niederschrift-blatt-1.jpg", quality=50)
    image = io.BytesIO()
    pages["niederschrift-anhoerung"].save(image, "JPEG", quality=45)
    image.seek(0)
    page = canvas.Canvas(str(HERE / "scan-niederschrift.pdf"), pagesize=A4, invariant=1)
    page.drawImage(ImageReader(image), 0, 0, *A4)
    page.showPage()
    page.save()


def repack(target, data):
    """An Office file's bytes hang on the time of its making; fixed times make it the same each time."""
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            text = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2026-03-02T09:00:00Z", source.read(name))
            out.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 9, 0, 0)), text, zipfile.ZIP_DEFLATED)


def office_files():
    letter = docx.Document()
    letter.core_properties.created = letter.core_properties.modified = WHEN
    letter.core_properties.author = letter.core_properties.last_modified_by = "Geschäftsstelle"
    letter.add_heading("Entwurf: Anhörung nach § 28 VwVfG", 1)
    letter.add_paragraph("Es ist beabsichtigt, den Bescheid zum Aktenzeichen " + AKTE + " zu berichtigen.")
    data = io.BytesIO()
    letter.save(data)
    repack(HERE / "entwurf-anhoerung.docx", data.getvalue())
    book = openpyxl.Workbook()
    book.properties.created = book.properties.modified = WHEN
    sheet = book.active
    sheet.title = "Aktenplan"
    for row in [("Blatt", "Schriftstück", "Datum"), (1, "Antrag", "2026-01-12"), (5, "Niederschrift", "2026-02-09"), (20, "Bescheid", "2026-03-02")]:
        sheet.append(row)
    data = io.BytesIO()
    book.save(data)
    repack(HERE / "aktenplan.xlsx", data.getvalue())


def bundle():
    with zipfile.ZipFile(HERE / "anlagen.zip", "w") as out:
        for name in ("vermerk-telefonat.txt", "uebergabeprotokoll.csv"):
            out.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 9, 0, 0)), NOTES[name])


def main():
    for name, letter in LETTERS.items():
        pdf(letter, HERE / (name + ".pdf"))
    for name, text in NOTES.items():
        (HERE / name).write_text(text, encoding="utf-8", newline="\n")
    scans()
    office_files()
    bundle()


if __name__ == "__main__":
    main()
