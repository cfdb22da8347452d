using System.Collections.Frozen;
using System.Globalization;

namespace Rollcall.Patrons;

/// <summary>A numbered field of a patron. The number and the name are part of the contract.</summary>
/// <param name="Number">The field's number; 0 for the unnumbered ones.</param>
/// <param name="Name">The name in JSON and in files.</param>
/// <param name="Label">What screens call it.</param>
public sealed record PatronField(int Number, string Name, string Label)
{
    /// <summary>Reads the field as canonical text; null when empty. Status is its number, dates are ISO 8601, a site is its id.</summary>
    public required Func<Patron, string?> Get { get; init; }

    /// <summary>Writes canonical text.</summary>
    public required Action<Patron, string?> Set { get; init; }

    /// <summary>Most UTF-16 units that are kept.</summary>
    public int MaxLength { get; init; } = 1000;

    /// <summary>Other headers that mean this field in a file, beside number, name and label.</summary>
    public string[] Aliases { get; init; } = [];
}

/// <summary>All fields of a patron that people and files can name.</summary>
public static class PatronFields
{
    public const int Barcode = 1000;
    public const int CommunityId = 1001;
    public const int GovernmentId = 1002;
    public const int Location = 1004;
    public const int SecondLocation = 1005;
    public const int LastName = 1006;
    public const int FirstName = 1007;
    public const int MiddleName = 1008;
    public const int Level = 1010;
    public const int Phone = 1017;
    public const int Email = 1019;
    public const int Status = 1026;
    public const int Policy = 1028;
    public const int Sex = 1032;
    public const int Birthdate = 1045;
    public const int GraduationDate = 1048;
    public const int AdditionalContact = 1049;
    public const int Site = 1050;
    public const int OtherEmails = 1054;
    public const int Nickname = 1070;
    public const int Guid = 1200;

    // Unnumbered in the contract; the change rows need a key for them all the same.
    public const int Group = 9001;
    public const int SiteAccess = 9002;
    public const int Notes = 9003;
    public const int Expiration = 9004;
    public const int Stamps = 9005;
    public const int DoNotTransfer = 9006;
    public const int KeptFields = 9007;

    public static readonly IReadOnlyList<PatronField> All =
    [
        new(Barcode, "barcode", "Barcode")
        {
            Get = p => Null(p.Barcode),
            Set = (p, v) => p.Barcode = v ?? "",
            MaxLength = Barcodes.MaxLength,
            Aliases =
            [
                "patron barcode",
                "barcode number",
                "card",
                "card number",
                "card no",
                "library card",
                "library card number",
                "patron number",
                "patron no",
                "borrower number",
                "borrower barcode",
            ],
        },
        new(CommunityId, "communityId", "Student #")
        {
            Get = p => p.CommunityId,
            Set = (p, v) => p.CommunityId = v,
            MaxLength = 255,
            Aliases =
            [
                "community id",
                "student",
                "student number",
                "student no",
                "student id",
                "pupil number",
                "pupil id",
                "sis id",
                "local id",
                "local student id",
                "local student number",
                "district student id",
                "district id",
                "alternate id",
                "school id",
                "admission number",
            ],
        },
        new(GovernmentId, "governmentId", "Government ID")
        {
            Get = p => p.GovernmentId,
            Set = (p, v) => p.GovernmentId = v,
            MaxLength = 255,
        },
        new(Location, "location", "Homeroom")
        {
            Get = p => p.Location,
            Set = (p, v) => p.Location = v,
            MaxLength = 255,
            Aliases = ["home room", "homeroom name", "homeroom teacher", "hr", "local address", "form", "tutor group"],
        },
        new(SecondLocation, "secondLocation", "2nd Location")
        {
            Get = p => p.SecondLocation,
            Set = (p, v) => p.SecondLocation = v,
            MaxLength = 255,
            Aliases = ["second location"],
        },
        new(LastName, "lastName", "Last Name")
        {
            Get = p => Null(p.LastName),
            Set = (p, v) => p.LastName = v ?? "",
            MaxLength = 255,
            Aliases = ["last", "family", "familyName", "surname"],
        },
        new(FirstName, "firstName", "First Name")
        {
            Get = p => p.FirstName,
            Set = (p, v) => p.FirstName = v,
            MaxLength = 255,
            Aliases = ["first", "given", "givenName", "given names", "forename", "forenames"],
        },
        new(MiddleName, "middleName", "Middle Name")
        {
            Get = p => p.MiddleName,
            Set = (p, v) => p.MiddleName = v,
            MaxLength = 255,
            Aliases = ["middle", "middle initial", "middle names"],
        },
        new(Level, "level", "Grade")
        {
            Get = p => p.Level,
            Set = (p, v) => p.Level = v,
            MaxLength = 255,
            Aliases = ["grade level", "current grade", "year level", "year group", "class year"],
        },
        new(Phone, "phone", "Phone Number")
        {
            Get = p => p.Phone,
            Set = (p, v) => p.Phone = v,
            MaxLength = 255,
            Aliases =
            [
                "telephone",
                "primary phone",
                "home phone",
                "phone 1",
                "mobile",
                "mobile phone",
                "cell phone",
                "address primary phone number primary",
            ],
        },
        new(Email, "email", "Email")
        {
            Get = p => p.Email,
            Set = (p, v) => p.Email = v,
            MaxLength = 320,
            Aliases = ["mail", "email address", "primary email", "email primary", "email 1", "student email"],
        },
        new(Status, "status", "Status")
        {
            Get = p => ((int)p.Status).ToString(CultureInfo.InvariantCulture),
            Set = (p, v) => p.Status = v is null ? PatronStatus.Active : (PatronStatus)int.Parse(v, CultureInfo.InvariantCulture),
        },
        new(Policy, "policy", "Policy")
        {
            Get = p => p.Policy,
            Set = (p, v) => p.Policy = v,
            MaxLength = 4,
            Aliases = ["patron policy", "policy code"],
        },
        new(Sex, "sex", "Sex")
        {
            Get = p => p.Sex,
            Set = (p, v) => p.Sex = v,
            Aliases = ["gender", "sex gender"],
        },
        new(Birthdate, "birthdate", "Birthdate")
        {
            Get = p => Date(p.Birthdate),
            Set = (p, v) => p.Birthdate = ParseDate(v),
            Aliases = ["birthday", "birth date", "date of birth", "dob"],
        },
        new(GraduationDate, "graduationDate", "Graduation Date")
        {
            Get = p => Date(p.GraduationDate),
            Set = (p, v) => p.GraduationDate = ParseDate(v),
            Aliases = ["graduation", "grad date"],
        },
        new(AdditionalContact, "additionalContact", "Parent/guardian")
        {
            Get = p => p.AdditionalContact,
            Set = (p, v) => p.AdditionalContact = v,
            MaxLength = 2000,
            Aliases = ["additional contact", "guardian", "parent", "parent name", "guardian name", "contact name"],
        },
        new(OtherEmails, "otherEmails", "Parent email")
        {
            Get = p => p.OtherEmails,
            Set = (p, v) => p.OtherEmails = v,
            MaxLength = 2000,
            Aliases = ["other emails", "guardian email", "parent emails", "email cc"],
        },
        new(Site, "site", "Site")
        {
            Get = p => p.SiteId?.ToString(CultureInfo.InvariantCulture),
            Set = (p, v) => p.SiteId = v is null ? null : int.Parse(v, CultureInfo.InvariantCulture),
            Aliases =
            [
                "site code",
                "site short name",
                "school",
                "school code",
                "branch",
                "branch code",
                "library",
                "library code",
                "home library",
            ],
        },
        new(Nickname, "nickname", "Nickname")
        {
            Get = p => p.Nickname,
            Set = (p, v) => p.Nickname = v,
            MaxLength = 255,
            Aliases = ["preferred name", "preferred first name", "known as"],
        },
        new(Guid, "guid", "GUID")
        {
            Get = p => p.Guid,
            Set = (p, v) => p.Guid = v,
            MaxLength = 255,
            Aliases = ["sourcedId"],
        },
        new(Group, "group", "Security Group")
        {
            Get = p => ((int)p.Group).ToString(CultureInfo.InvariantCulture),
            Set = (p, v) => p.Group = v is null ? SecurityGroup.Patron : (SecurityGroup)int.Parse(v, CultureInfo.InvariantCulture),
            Aliases = ["securityGroup"],
        },
        new(SiteAccess, "siteAccess", "Site Access") { Get = p => p.SiteAccess, Set = (p, v) => p.SiteAccess = v },
        new(Notes, "notes", "Notes")
        {
            Get = p => p.Notes,
            Set = (p, v) => p.Notes = v,
            MaxLength = 8000,
            Aliases = ["note", "patron notes", "borrower notes"],
        },
        new(Expiration, "expiration", "Expiration")
        {
            Get = p => Date(p.Expiration),
            Set = (p, v) => p.Expiration = ParseDate(v),
            Aliases = ["expiration date", "expires", "expire date", "expiry date", "date expiry", "card expires"],
        },
        new(Stamps, "stamps", "Stamps") { Get = p => p.Stamps, Set = (p, v) => p.Stamps = v },
        new(DoNotTransfer, "doNotTransfer", "Do not transfer")
        {
            Get = p => p.DoNotTransfer ? "true" : null,
            Set = (p, v) => p.DoNotTransfer = v is "true",
        },
        new(KeptFields, "keptFields", "Library keeps") { Get = p => p.KeptFields, Set = (p, v) => p.KeptFields = v },
    ];

    private static readonly FrozenDictionary<int, PatronField> s_byNumber = All.ToFrozenDictionary(f => f.Number);
    private static readonly FrozenDictionary<string, PatronField> s_byName = Names().ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    /// <summary>The field of a number; throws when there is none.</summary>
    public static PatronField ByNumber(int number) => s_byNumber[number];

    /// <summary>The field that a header or an argument names: its number, name, label or an alias, case and blanks aside.</summary>
    public static PatronField? Find(string name) => s_byName.GetValueOrDefault(Simplify(name));

    /// <summary>The status in words, as screens and JSON say it.</summary>
    public static string StatusWord(PatronStatus status) => status == PatronStatus.CardLost ? "Card Lost" : status.ToString();

    /// <summary>The labels of the fields that a patron's <see cref="KeptFields"/> lists, as people read them; null when there are none.</summary>
    public static string? KeptWords(string? kept) =>
        kept is null
            ? null
            : string.Join(", ", kept.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(f => Find(f) is { } field ? field.Label : f));

    /// <summary>The status that a word or a number means; null when it means none.</summary>
    public static PatronStatus? ParseStatus(string value)
    {
        foreach (var status in Enum.GetValues<PatronStatus>())
        {
            if (
                string.Equals(Simplify(value), Simplify(StatusWord(status)), StringComparison.OrdinalIgnoreCase)
                || value.Trim() == ((int)status).ToString(CultureInfo.InvariantCulture)
            )
            {
                return status;
            }
        }

        return null;
    }

    /// <summary>The security group in words.</summary>
    public static string GroupWord(SecurityGroup group) =>
        group switch
        {
            SecurityGroup.PatronLimited => "Patron Limited",
            SecurityGroup.StudentAide => "Student Aide",
            SecurityGroup.LibraryAdministrator => "Library Administrator",
            SecurityGroup.DistrictAdministrator => "District Administrator",
            _ => group.ToString(),
        };

    /// <summary>The security group that a word means; null when it means none.</summary>
    public static SecurityGroup? ParseGroup(string value)
    {
        foreach (var group in Enum.GetValues<SecurityGroup>())
        {
            if (string.Equals(Simplify(value), Simplify(GroupWord(group)), StringComparison.OrdinalIgnoreCase))
            {
                return group;
            }
        }

        return null;
    }

    /// <summary>The sex in words as JSON says it; null when unknown.</summary>
    public static string? SexWord(string? sex) =>
        sex switch
        {
            "M" => "male",
            "F" => "female",
            "X" => "other",
            _ => null,
        };

    /// <summary>The canonical text of a value that a person typed or a file holds. Sites are not resolved here.</summary>
    /// <returns>False with a reason in words when the value does not fit the field.</returns>
    public static bool TryCanonical(PatronField field, string? value, out string? canonical, out string problem)
    {
        problem = "";
        canonical = Clean(field, value);
        if (canonical is null)
        {
            if (field.Number is Barcode or LastName or Status or Group)
            {
                problem = $"{field.Label} may not be blank";
                return false;
            }

            return true;
        }

        switch (field.Number)
        {
            case Barcode:
                problem = Barcodes.Problem(canonical) is { } unfit ? $"The barcode cannot be used: {unfit}" : "";
                break;
            case Status:
                // Files of other library systems shorten two of the words.
                var status = canonical!.ToLowerInvariant() switch
                {
                    "a" => PatronStatus.Active,
                    "i" => PatronStatus.Inactive,
                    _ => ParseStatus(canonical!),
                };
                canonical = status is null ? null : ((int)status.Value).ToString(CultureInfo.InvariantCulture);
                problem = status is null ? "Status is one of Active, Card Lost, Suspended, Transferred, Inactive, Other" : "";
                break;
            case Group:
                var group = ParseGroup(canonical!);
                canonical = group is null ? null : ((int)group.Value).ToString(CultureInfo.InvariantCulture);
                problem = group is null
                    ? "Security Group is one of Patron, Patron Limited, Student Aide, Librarian, Library Administrator, District Administrator"
                    : "";
                break;
            case Sex:
                (canonical, problem) = canonical!.ToLowerInvariant() switch
                {
                    "m" or "male" or "1" => ("M", ""),
                    "f" or "female" or "2" => ("F", ""),
                    "x" or "other" => ("X", ""),
                    "u" or "unknown" or "unspecified" or "0" => ((string?)null, ""),
                    _ => (null, "Sex is male, female, other or blank"),
                };
                break;
            case Birthdate or GraduationDate or Expiration:
                var date = ParseDate(canonical);
                canonical = Date(date);
                problem = date is null
                    ? $"{field.Label} is a whole date with the year in four digits, such as 2012-09-30, 9/30/2012 or 30.9.2012"
                    : "";
                break;
            case DoNotTransfer:
                (canonical, problem) = canonical!.ToLowerInvariant() switch
                {
                    "true" or "yes" or "1" => ("true", ""),
                    "false" or "no" or "0" => ((string?)null, ""),
                    _ => (null, $"{field.Label} is true or false"),
                };
                break;
            case KeptFields:
                var kept = canonical
                    .Split([',', ';', ' '], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                    .Select(Find)
                    .ToList();
                canonical = string.Join(',', kept.Where(f => f is not null).Select(f => f!.Number).Distinct().Order());
                problem =
                    kept.Contains(null) ? "Library keeps is a list of field names or numbers"
                    : kept.Exists(f => f!.Number == Guid) ? "The GUID cannot be kept: it says whom of the roster the patron is"
                    : "";
                break;
            default:
                if (Text.IsLonger(canonical, field.MaxLength))
                {
                    problem = $"{field.Label} has at most {field.MaxLength} characters";
                }

                break;
        }

        return problem.Length == 0;
    }

    /// <summary>A text as a field keeps it: notes alone have lines.</summary>
    internal static string? Clean(PatronField field, string? value) =>
        field.Number switch
        {
            Notes => Text.CleanLines(value),
            Barcode or CommunityId or Email => Text.CleanKey(value),
            _ => Text.Clean(value),
        };

    /// <summary>ISO 8601 date text.</summary>
    public static string? Date(DateOnly? date) => date?.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    /// <summary>Reads an ISO 8601 date, or month/day/year with slashes as American files have it, or day.month.year with dots as most others have it;
    /// null when none of them. A year of two digits
    /// may be of either century, and a year alone names no day: neither is guessed at.</summary>
    public static DateOnly? ParseDate(string? value) =>
        string.IsNullOrEmpty(value) ? null
        : DateOnly.TryParseExact(value, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date)
        || DateOnly.TryParseExact(value, s_dateForms, CultureInfo.InvariantCulture, DateTimeStyles.None, out date)
            ? date
        : null;

    private static readonly string[] s_dateForms = ["M/d/yyyy", "yyyy/M/d", "d.M.yyyy"];

    private static string? Null(string value) => value.Length == 0 ? null : value;

    private static string Simplify(string name) => new([.. name.Where(char.IsLetterOrDigit)]);

    private static Dictionary<string, PatronField> Names()
    {
        var names = new Dictionary<string, PatronField>(StringComparer.OrdinalIgnoreCase);
        foreach (var field in All)
        {
            foreach (var name in (string[])[field.Name, field.Label, field.Number.ToString(CultureInfo.InvariantCulture), .. field.Aliases])
            {
                names[Simplify(name)] = field;
            }
        }

        // "Student #" folds to the bare word.
        names["Student"] = ByNumberIn(CommunityId);
        return names;

        static PatronField ByNumberIn(int number) => All.First(f => f.Number == number);
    }
}
