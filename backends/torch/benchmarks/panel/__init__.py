"""The panel: small real workloads on which arms of teaching are compared, as recipes.

Run in the folder above: ``attent teach panel.text:byte_gpt --set data=FOLDER``. Without ``data`` the recipes
use what comes with Python and attent. Built for one thread (``OMP_NUM_THREADS=1``).
"""
