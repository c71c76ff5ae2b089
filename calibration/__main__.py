"""Run the studies and write their evidence: ``python -m calibration``."""

from __future__ import annotations

from pathlib import Path

from calibration import recovery, stocks

HERE = Path(__file__).parent


def main() -> None:
    texts = {"RECOVERY.md": recovery.report()}
    if stocks.data_folder().is_dir():
        texts["STOCKS.md"] = stocks.report()
    else:
        print(f"no public data in {stocks.data_folder()}: STOCKS.md is left as it is")
    for name, text in texts.items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    main()
