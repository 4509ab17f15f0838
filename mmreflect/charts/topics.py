"""What charts are about: topics with plausible labels, ranges and units."""

from dataclasses import dataclass, field

Names = tuple[str, ...]

COUNTRIES: Names = (
    "Arvania", "Belmora", "Castova", "Dorland", "Elvaria", "Fensland", "Galdora", "Hestria", "Istmark", "Jorvia",
    "Kelmar", "Lomira", "Meridon", "Norvik", "Orsia", "Peltova", "Quorra", "Rastenia", "Selvona", "Torvald",
)  # fmt: skip
"""Places have invented names: nobody knows better what is drawn for them."""
CITIES: Names = (
    "Alderport", "Brinmouth", "Carrow", "Denholm", "Eastmere", "Farley", "Grenwick", "Hollin", "Ivyford", "Kestle",
    "Larkhill", "Marstow", "Norbury", "Oakhaven", "Penrose", "Quayside",
)  # fmt: skip
STATIONS: Names = ("Station A", "Station B", "Station C", "Station D", "Station E", "Station F", "Station G")
FRUITS: Names = ("Apples", "Bananas", "Grapes", "Oranges", "Pears", "Mangoes", "Cherries", "Plums", "Melons", "Kiwis")
DEPARTMENTS: Names = ("Sales", "Finance", "Legal", "Support", "Research", "Design", "Logistics", "IT", "Marketing")
SPORTS: Names = ("Tennis", "Football", "Swimming", "Rowing", "Judo", "Cycling", "Hockey", "Running", "Golf", "Boxing")
SUBJECTS: Names = ("Maths", "Physics", "History", "Music", "Biology", "Art", "Chemistry", "Geography", "Latin")
GENRES: Names = ("Crime", "Fantasy", "Poetry", "Travel", "Comics", "Science", "Cooking", "Romance", "Drama")
PRODUCTS: Names = ("Laptops", "Phones", "Tablets", "Monitors", "Printers", "Cameras", "Routers", "Speakers", "Watches")
MODELS: Names = ("Model A", "Model B", "Model C", "Model D", "Model E", "Model F")
LANGUAGES: Names = ("Python", "Java", "Rust", "Go", "Ruby", "Kotlin", "Swift", "Scala", "Perl")
ANIMALS: Names = ("Lion", "Giraffe", "Zebra", "Otter", "Wolf", "Badger", "Lynx", "Bison", "Camel", "Moose")
SHOPS: Names = ("North", "South", "East", "West", "Harbour", "Station", "Airport", "Old Town")
MONTHS: Names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS: Names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS: Names = ("06:00", "09:00", "12:00", "15:00", "18:00", "21:00")

YEARS_TWO: Names = ("2018", "2023")
YEARS_THREE: Names = ("2015", "2019", "2023")
SEXES: Names = ("Women", "Men")
AGES: Names = ("Under 30", "30 to 50", "Over 50")
AREAS: Names = ("Urban", "Rural")
FIRMS: Names = ("Alder", "Birch", "Cedar", "Dogwood")
QUARTERS: Names = ("Q1", "Q2", "Q3", "Q4")


@dataclass(frozen=True, slots=True)
class Topic:
    """What a table of one measure can be about.

    Attributes:
        noun: the measure inside a sentence; `unit`: of its values, empty for counts.
        low, high: the plausible range.
        rows, row_noun: labels of the categories and what one of them is called; `preposition` stands before a label.
        columns, column_noun: labels of series that may be compared.
        places: decimals of a plausible value.
        additive: sums over rows and series make sense.
        log: values spread over powers of ten.
        time: rows are points in time.
        wave: the year has one wave, over the months that are its rows or its columns.
        continuous: a measure, of which no two values of a table are the same where there is room for others.
    """

    noun: str
    unit: str
    low: float
    high: float
    rows: Names
    row_noun: str
    preposition: str = "in"
    columns: tuple[Names, ...] = ()
    column_noun: str = "group"
    places: int = 0
    additive: bool = False
    log: bool = False
    time: bool = False
    wave: bool = False
    continuous: bool = False


def _years(first: int, count: int) -> Names:
    return tuple(str(first + place) for place in range(count))


DECADE, SPAN, EVERY_FIVE = _years(2012, 12), _years(2005, 14), tuple(str(year) for year in range(1970, 2025, 5))

CATEGORIES: tuple[Topic, ...] = (
    Topic("coffee consumption", "kg per person", 1, 12, COUNTRIES, "country", columns=(YEARS_TWO, YEARS_THREE), column_noun="year", places=1, continuous=True),
    Topic("number of employees", "", 8, 240, DEPARTMENTS, "department", columns=(SEXES, AGES, YEARS_TWO), additive=True),
    Topic("harvest", "thousand tonnes", 10, 180, FRUITS, "fruit", "of", (YEARS_TWO, YEARS_THREE), "year", additive=True, continuous=True),
    Topic("price", "$ per kg", 1, 9, FRUITS, "fruit", "of", (YEARS_TWO, ("Market", "Supermarket")), places=2, continuous=True),
    Topic("number of members", "", 20, 900, SPORTS, "sport", "for", (SEXES, AGES), additive=True),
    Topic("average test score", "points", 30, 98, SUBJECTS, "subject", "in", (("Class 7a", "Class 7b", "Class 7c"), SEXES), continuous=True),
    Topic("number of books lent", "", 40, 2600, GENRES, "genre", "for", (YEARS_TWO, ("Adults", "Children")), additive=True),
    Topic("units sold", "", 200, 18000, PRODUCTS, "product", "of", (("Online", "In store"), QUARTERS[:3], YEARS_TWO), "channel", additive=True),
    Topic("internet access", "%", 25, 99, COUNTRIES, "country", "in", (AREAS, YEARS_TWO, AGES), continuous=True),
    Topic("life expectancy", "years", 62, 86, COUNTRIES, "country", "in", (SEXES,), places=1, continuous=True),
    Topic("number of sightings", "", 6, 90, ANIMALS, "animal", "of", (YEARS_TWO,), "year", additive=True),
    Topic("number of cells", "per ml", 20, 9000, tuple(f"Sample {letter}" for letter in "ABCDEFGHIJ"), "sample", "in", log=True),
    Topic("population", "thousand", 20, 3000, CITIES, "city", "of", (YEARS_TWO,), "year", log=True, additive=True),
    Topic("rent", "$ per month", 600, 3200, CITIES, "city", "in", (("Centre", "Suburb"), YEARS_TWO), continuous=True),
    Topic("battery life", "hours", 4, 26, MODELS, "model", "of", (("Video", "Browsing", "Standby use"),), "use", places=1, continuous=True),
    Topic("share of developers", "%", 3, 60, LANGUAGES, "language", "using", (YEARS_TWO,), "year"),
    Topic("number of visitors", "thousand", 15, 480, CITIES, "city", "in", (("Spring", "Summer", "Autumn"), YEARS_TWO), "season", additive=True),
    Topic("waiting time", "minutes", 2, 45, SHOPS, "branch", "in", (("Morning", "Evening"),), "time of day"),
)  # fmt: skip

TIMES: tuple[Topic, ...] = (
    Topic("revenue", "million $", 10, 95, DECADE, "year", columns=(FIRMS, FIRMS[:2]), column_noun="company", places=1, additive=True, time=True, continuous=True),
    Topic("average temperature", "°C", 1, 32, MONTHS, "month", columns=(STATIONS[:3], STATIONS[3:5]), column_noun="station", time=True, wave=True, continuous=True),
    Topic("rainfall", "mm", 10, 260, MONTHS, "month", columns=(STATIONS[4:6], STATIONS[:3]), column_noun="station", additive=True, time=True, wave=True, continuous=True),
    Topic("number of students", "", 400, 5200, SPAN, "year", columns=(("Bachelor", "Master", "Doctorate"), SEXES), additive=True, time=True),
    Topic("electricity price", "cents per kWh", 11, 42, DECADE, "year", columns=(COUNTRIES[2:5], COUNTRIES[6:8]), column_noun="country", time=True, continuous=True),
    Topic("unemployment rate", "%", 2, 18, SPAN, "year", columns=(COUNTRIES[:3], AREAS), column_noun="region", places=1, time=True, continuous=True),
    Topic("number of website visits", "", 300, 48000, MONTHS, "month", columns=(("Phone", "Desktop"), ("Search", "Direct", "Social")), column_noun="source", additive=True, time=True),
    Topic("number of downloads", "", 20, 900000, DECADE, "year", columns=(("App X", "App Y"),), column_noun="app", log=True, additive=True, time=True),
    Topic("solar capacity", "GW", 1, 80, DECADE, "year", columns=(COUNTRIES[5:8],), column_noun="country", additive=True, time=True, continuous=True),
    Topic("forest area", "%", 18, 64, EVERY_FIVE, "year", columns=(COUNTRIES[9:12], COUNTRIES[12:14]), column_noun="country", time=True, continuous=True),
    Topic("number of orders", "", 120, 980, DAYS, "day", "on", (SHOPS[:3], ("Pizza", "Pasta")), "kind", additive=True, time=True),
    Topic("resting heart rate", "beats per minute", 48, 92, DAYS, "day", "on", (("Anna", "Ben"),), "person", time=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Whole:
    """Parts of one whole, in percent."""

    title: str
    row_noun: str
    parts: Names


WHOLES: tuple[Whole, ...] = (
    Whole("Household spending", "item", ("Rent", "Food", "Transport", "Clothing", "Leisure", "Savings", "Health")),
    Whole("Electricity by source", "source", ("Wind", "Solar", "Hydro", "Gas", "Coal", "Nuclear", "Biomass")),
    Whole("How students come to school", "means", ("Bus", "Bicycle", "On foot", "Car", "Tram", "Train")),
    Whole("Browser market", "browser", ("Alpha", "Beta", "Gamma", "Delta", "Others")),
    Whole("Favourite season in a survey", "season", ("Spring", "Summer", "Autumn", "Winter")),
    Whole("Land use in the valley", "use", ("Forest", "Pasture", "Crops", "Housing", "Water", "Roads")),
    Whole("Votes in the club election", "candidate", ("Ahmed", "Berg", "Costa", "Dubois", "Evans")),
    Whole("City budget", "item", ("Schools", "Transport", "Police", "Parks", "Housing", "Culture", "Health")),
    Whole("Sales by region", "region", ("North", "South", "East", "West", "Overseas")),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two measures of the same things; `slope` is how the second goes with the first: 1, -1, or 0 for not at all."""

    x: str
    x_unit: str
    x_range: tuple[float, float]
    y: str
    y_unit: str
    y_range: tuple[float, float]
    slope: int
    groups: tuple[Names, ...] = field(default_factory=tuple)


PAIRS: tuple[Pair, ...] = (
    Pair("height", "cm", (140, 200), "weight", "kg", (40, 110), 1, (SEXES,)),
    Pair("hours of study", "", (0, 20), "test score", "points", (20, 100), 1, (("Class 7a", "Class 7b"),)),
    Pair("age of the car", "years", (0, 16), "price", "thousand $", (0, 40), -1, (("Diesel", "Petrol"), MODELS[:3])),
    Pair("temperature", "°C", (0, 35), "ice cream sales", "$", (0, 800), 1, (("Weekday", "Weekend"),)),
    Pair("distance to the centre", "km", (0, 30), "rent", "$ per month", (400, 2400), -1, (CITIES[:3],)),
    Pair("shoe size", "", (34, 48), "reaction time", "ms", (150, 400), 0, (AGES[:2],)),
    Pair("screen time", "hours", (0, 10), "sleep", "hours", (4, 10), -1, (("Weekday", "Weekend"),)),
    Pair("fertiliser", "kg", (0, 60), "yield", "tonnes", (0, 12), 1, (("Wheat", "Maize", "Barley"),)),
    Pair("house number", "", (0, 120), "garden size", "m²", (0, 600), 0, (("Left side", "Right side"),)),
)

SPREADS: tuple[Topic, ...] = (
    Topic("test score", "points", 20, 100, ("Class 7a", "Class 7b", "Class 7c", "Class 8a", "Class 8b"), "class"),
    Topic("delivery time", "days", 1, 30, SHOPS, "branch", "for"),
    Topic("salary", "thousand $", 25, 140, DEPARTMENTS, "department"),
    Topic("reaction time", "ms", 150, 480, ("Group A", "Group B", "Group C", "Group D"), "group"),
    Topic("leaf length", "mm", 10, 95, ("Oak", "Beech", "Maple", "Birch", "Ash", "Elm"), "tree", "of"),
    Topic("flight delay", "minutes", 0, 120, CITIES, "city"),
    Topic("daily steps", "", 1500, 18000, DAYS, "day", "on"),
)

GRIDS: tuple[Topic, ...] = (
    Topic("number of visitors", "", 5, 95, DAYS, "day", "on", (HOURS,), "hour", additive=True, time=True),
    Topic("number of calls", "", 2, 60, MONTHS, "month", "in", (SHOPS,), "branch", additive=True, time=True),
    Topic("average temperature", "°C", 1, 32, STATIONS, "station", "at", (MONTHS,), "month", wave=True, continuous=True),
    Topic("accuracy", "%", 40, 99, MODELS, "model", "of", (("Charts", "Maps", "Tables", "Photos", "Text"),), "task"),
    Topic("absences", "days", 1, 40, DEPARTMENTS, "department", "in", (QUARTERS,), "quarter", additive=True),
    Topic("number of goals", "", 1, 48, CITIES, "club", "of", (("2019", "2020", "2021", "2022", "2023"),), "season", additive=True),
)  # fmt: skip
