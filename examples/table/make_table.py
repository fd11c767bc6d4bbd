"""Writes a table of houses whose price follows from area, rooms and distance, with some noise."""

import csv
import random

random.seed(1)
with open("houses.csv", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["area_m2", "rooms", "distance_km", "price_k"])
    for _ in range(400):
        area, rooms, distance = random.uniform(30, 200), random.randint(1, 7), random.uniform(0, 30)
        price = 2.5 * area + 12 * rooms - 4 * distance + random.gauss(0, 10) + 100
        writer.writerow([f"{area:.1f}", rooms, f"{distance:.1f}", f"{price:.1f}"])
print("wrote houses.csv: 400 rows")
