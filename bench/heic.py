"""What x265's presets cost when a HEIC is written: python -m bench.heic PHOTO [PHOTO ...]

Photos are written as HEIC of quality 70 first, read, and written again as the program does it, with each preset:
seconds of CPU, size, and how far the second generation is from the first (PSNR over all photos).
"""

import io
import sys
import time

import numpy as np
import pillow_heif
from PIL import Image

from anonymize.images import heif


def written(pixels, **options):
    out, started = io.BytesIO(), time.process_time()
    pillow_heif.encode("RGB", pixels.shape[1::-1], pixels.tobytes(), out, **options)
    return out.getvalue(), time.process_time() - started


def read(data):
    return np.asarray(pillow_heif.open_heif(io.BytesIO(data))[0])


def main():
    photos = [read(written(np.asarray(Image.open(name).convert("RGB")), quality=70)[0]) for name in sys.argv[1:]]
    print(f"{sum(p.size // 3 for p in photos) / 1e6:.1f} MP\npreset     seconds  MB     PSNR")
    for preset in ("ultrafast", "superfast", "veryfast", "medium", "slow"):
        seconds, size, error = 0.0, 0, 0.0
        for pixels in photos:
            data, took = written(pixels, quality=heif.QUALITY, enc_params={"preset": preset})
            seconds, size = seconds + took, size + len(data)
            error += float(((read(data).astype(np.float32) - pixels) ** 2).sum())
        psnr = 10 * np.log10(255**2 / (error / sum(p.size for p in photos)))
        print(f"{preset:10} {seconds:7.1f}  {size / 1e6:5.2f}  {psnr:.1f} dB")


if __name__ == "__main__":
    main()
