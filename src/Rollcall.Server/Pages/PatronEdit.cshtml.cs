using System.Globalization;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Districts;
using Rollcall.Integrations;
using Rollcall.Mapping;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>A patron changed or entered by hand.</summary>
internal sealed class PatronEditModel(Here here, PatronService patrons, SiteService sites, IntegrationService integrations, Reading reading)
    : RollcallPage(here)
{
    /// <summary>Null for a new one.</summary>
    public Patron? Patron { get; private set; }

    /// <summary>The service that writes into this patron; null when none does.</summary>
    public string? Service { get; private set; }

    /// <summary>Why that service writes nothing here: the role group that is not ticked; null when it does.</summary>
    public RoleGroup? LeftAlone { get; private set; }

    /// <summary>The roster does not have this person any more.</summary>
    public bool Absent { get; private set; }
    private IntegrationSettings _settings = new();
    private RoleGroup _group;
    public PatronForm Form { get; private set; } = new();

    /// <summary>Why nothing was saved.</summary>
    public string? Problem { get; private set; }

    /// <summary>A namesake at the site; whoever sends the form again knows of them. Null where there is none.</summary>
    public NamesakeException? Twin { get; private set; }

    /// <summary>What is wrong with each field.</summary>
    private IReadOnlyDictionary<int, string> _problems = new Dictionary<int, string>();

    public async Task<IActionResult> OnGetAsync(string? barcode) => await LoadAsync(barcode) ?? await ShowAsync(new Sent());

    public async Task<IActionResult> OnPostAsync([FromQuery] string? barcode, string? seen, string? twin)
    {
        var opened = SeenPatron.Parse(seen);
        var form = await Request.ReadFormAsync(Gone);
        if ((await AnotherAsync(barcode, opened, form) ?? await LoadAsync(barcode)) is { } missing)
        {
            return missing;
        }

        if (Patron is not null && opened?.Id != Patron.Id)
        {
            // Whose values these are nobody knows.
            return Missing("The form does not say whom it was opened for. Nothing was saved: open it once more.");
        }

        var typed = PatronForm.Read(form);
        var sent = new Sent { Typed = typed, Kept = PatronForm.ReadKept(form) };
        try
        {
            if (Patron is null)
            {
                // What was left open takes the site's default instead of being emptied.
                var fields = Changes(typed).Where(c => !string.IsNullOrWhiteSpace(c.Value)).ToList();
                if (!await FitAsync(fields))
                {
                    return await ShowAsync(sent);
                }

                var added = await patrons.AddAsync(DistrictId, fields, Here.Actor, twin ?? "", Gone);
                TempData["Said"] = $"{added.DisplayName} was added with the barcode {added.Barcode}.{await DoubtAsync(added, null)}";
                return LocalRedirect(Words.PatronUrl(added.Barcode));
            }

            for (var attempt = 1; ; attempt++)
            {
                sent = await AnewAsync();
                if (sent.Meanwhile.Count > 0)
                {
                    Problem =
                        "Somebody changed this patron since you opened the page. Look at the fields that say so, then save once more: what is typed there stays.";
                    return await ShowAsync(sent);
                }

                var changes = Changes(sent.Typed);
                if (!await FitAsync(changes))
                {
                    return await ShowAsync(sent);
                }

                if (Service is not null)
                {
                    changes.Add(
                        new("keptFields", string.Join(',', sent.Kept!.Order().Select(n => n.ToString(CultureInfo.InvariantCulture))))
                    );
                }

                try
                {
                    var saved = await patrons.EditAsync(DistrictId, Patron!.Barcode, changes, Here.Actor, SeenPatron.Of(Patron), Gone);
                    TempData["Said"] =
                        saved.Version == Patron.Version
                            ? "Everything is as it was: nothing was changed."
                            : $"Saved.{await DoubtAsync(saved, Patron)}";
                    return LocalRedirect(Words.PatronUrl(saved.Barcode));
                }
                catch (PatronChangedException) when (attempt < 5)
                {
                    // A save waits for the part of a sync that is being written. What that changed is mostly another field.
                    if ((await AnotherAsync(barcode, opened, form) ?? await LoadAsync(barcode)) is { } otherwise)
                    {
                        return otherwise;
                    }
                }
            }
        }
        catch (RollcallException e)
        {
            Problem = e.Message;
            Twin = e as NamesakeException;

            // Somebody may have been faster by less than it takes to save.
            var edited = Patron?.Id;
            return await LoadAsync(barcode)
                ?? (
                    Patron?.Id == edited
                        ? await ShowAsync(await AnewAsync())
                        : Missing($"{e.Message} Nothing was saved: search for the patron by name.")
                );
        }

        // Compared with what is there by now, so that the form says what somebody wrote meanwhile.
        async Task<Sent> AnewAsync() =>
            Patron is null ? sent : await SinceAsync(new Sent { Typed = typed, Kept = PatronForm.ReadKept(form) }, form, opened?.Version);

        static List<KeyValuePair<string, string?>> Changes(IEnumerable<KeyValuePair<int, string?>> typed) =>
            [.. typed.Select(v => KeyValuePair.Create(PatronFields.ByNumber(v.Key).Name, v.Value))];
    }

    /// <summary>What to look at after what was saved, behind a blank.</summary>
    private async Task<string?> DoubtAsync(Patron now, Patron? before) =>
        await patrons.DoubtAsync(now, before, Gone) is { } doubt ? $" {doubt}" : null;

    /// <summary>What is answered where the barcode is not, or not any more, that of the patron for whom the form was opened; null where it is.</summary>
    private async Task<IActionResult?> AnotherAsync(string? barcode, SeenPatron? opened, IFormCollection form)
    {
        if (string.IsNullOrWhiteSpace(barcode) || opened is not { } looked)
        {
            return null;
        }

        if (await patrons.FindAsync(DistrictId, looked.Id, Gone) is not { } person)
        {
            return Missing("The patron was removed, or merged into another record, while the form was open. Nothing was saved.");
        }

        return person.BarcodeKey == Text.BarcodeKey(barcode.Trim()) ? null : await AnotherBarcodeAsync(person.Barcode, looked, form);
    }

    /// <summary>The patron has another barcode than when the form was opened, and the former one may be another person's. The form comes back for the
    /// one it was opened for, under the barcode that they have.</summary>
    private async Task<IActionResult> AnotherBarcodeAsync(string barcode, SeenPatron looked, IFormCollection form)
    {
        if (await LoadAsync(barcode) is { } missing)
        {
            return missing;
        }

        if (Patron!.Id != looked.Id)
        {
            return Missing("Barcodes change hands just now. Nothing was saved: search for the patron by name.");
        }

        Problem = $"This patron has got the barcode {Patron.Barcode} since you opened the page. Look at the values, then save once more.";
        return await ShowAsync(
            await SinceAsync(new Sent { Typed = PatronForm.Read(form), Kept = PatronForm.ReadKept(form) }, form, looked.Version)
        );
    }

    /// <summary>Whether all that is typed can be taken; what cannot is said at each field.</summary>
    private async Task<bool> FitAsync(IReadOnlyList<KeyValuePair<string, string?>> fields)
    {
        _problems = await patrons.ProblemsAsync(DistrictId, Patron?.Id ?? 0, fields, Gone);
        Problem = _problems.Count switch
        {
            0 => null,
            1 => _problems.Values.Single(),
            _ => $"{_problems.Count} fields do not fit: each says why.",
        };
        return Problem is null;
    }

    /// <summary>
    /// What somebody changed on the form, and of it what somebody else, or a sync, changed otherwise while the form was open. The rest of the
    /// form is as it was opened: what became of it meanwhile stays.
    /// </summary>
    private async Task<Sent> SinceAsync(Sent sent, IFormCollection form, long? version)
    {
        var now = PatronForm.ValuesOf(Patron!, (await sites.ListAsync(DistrictId, Gone)).ToDictionary(s => s.Id));
        var was = PatronForm.Read(form, PatronForm.WasPrefix);
        var typed = new Dictionary<int, string?>();
        var meanwhile = new Dictionary<int, string>();
        foreach (var (number, value) in sent.Typed)
        {
            var present = now.GetValueOrDefault(number);
            var (knows, before) = (was.TryGetValue(number, out var opened), opened);
            if ((knows && PatronForm.IsSame(number, value, before)) || PatronForm.IsSame(number, value, present))
            {
                continue;
            }

            typed[number] = value;
            if (knows ? !PatronForm.IsSame(number, before, present) : version is { } seen && seen != Patron!.Version)
            {
                meanwhile[number] = string.IsNullOrEmpty(present)
                    ? "Meanwhile somebody emptied this field."
                    : $"Meanwhile somebody wrote “{present}”.";
            }
        }

        var kept = FieldGroups.Kept(Patron!);
        var wasPrefixed = PatronForm.WasPrefix + PatronForm.KeptName;
        var wasKept = form.ContainsKey(wasPrefixed)
            ? PatronForm.ReadKept(form, PatronForm.WasPrefix)
            // Marks for fields that the form does not offer stay.
            : [.. kept.Where(n => OwnerOf(n, kept: true) is { Keepable: true })];
        kept.UnionWith(sent.Kept!.Where(n => !wasKept.Contains(n)));
        kept.ExceptWith(wasKept.Where(n => !sent.Kept!.Contains(n)));
        return new Sent
        {
            Typed = typed,
            Kept = kept,

            // Whoever saw both values may choose; the others are still compared with what was seen.
            Was = was.Where(w => typed.ContainsKey(w.Key) && !meanwhile.ContainsKey(w.Key)).ToDictionary(),
            Meanwhile = meanwhile,
        };
    }

    /// <summary>What a form holds that was sent.</summary>
    private sealed record Sent
    {
        /// <summary>Field number → text.</summary>
        public Dictionary<int, string?> Typed { get; init; } = [];

        /// <summary>Fields that the library is to keep; null as it is.</summary>
        public HashSet<int>? Kept { get; init; }

        /// <summary>What typed fields held when the form was opened, where it is not what they hold now.</summary>
        public Dictionary<int, string?> Was { get; init; } = [];

        /// <summary>Fields that somebody else changed otherwise → how, in a sentence.</summary>
        public Dictionary<int, string> Meanwhile { get; init; } = [];
    }

    private async Task<IActionResult?> LoadAsync(string? barcode)
    {
        if (string.IsNullOrWhiteSpace(barcode))
        {
            return null;
        }

        try
        {
            (Patron, var link) = await patrons.GetAsync(DistrictId, barcode, Gone);
            _group = link?.RoleGroup ?? RoleGroup.None;
            Absent = link?.Absent == true;
        }
        catch (RollcallException e)
        {
            return Missing($"{e.Message} It may have got another barcode since, or have been removed: search by name.");
        }

        if (Here.Refusal(Patron) is { } refusal)
        {
            return Forbidden(refusal);
        }

        var service = Patron.Guid is null ? null : await integrations.EnabledAsync(DistrictId, Gone);
        Service = service is null ? null : Words.Service(service.Kind);
        _settings = IntegrationService.SettingsOf(service);
        LeftAlone = Mapper.Reaches(_settings.Roles, _group) ? null : _group;
        return null;
    }

    private FieldOwner? OwnerOf(int field, bool kept) => Service is null ? null : FieldOwner.Of(field, _settings, _group, kept);

    private async Task<IActionResult> ShowAsync(Sent sent)
    {
        var all = await sites.ListAsync(DistrictId, Gone);
        var values = Patron is null
            ? new Dictionary<int, string?> { [PatronFields.Status] = PatronFields.StatusWord(PatronStatus.Active) }
            : PatronForm.ValuesOf(Patron, all.ToDictionary(s => s.Id));
        var was = new Dictionary<int, string?>(values);
        foreach (var (number, value) in sent.Was)
        {
            was[number] = value;
        }

        foreach (var (number, value) in sent.Typed)
        {
            values[number] = value;
        }

        if (Patron is null && sent.Typed.Count == 0 && all.Count == 1)
        {
            values[PatronFields.Site] = all[0].Code;
        }

        HashSet<int> kept = Patron is null ? [] : FieldGroups.Kept(Patron);
        Form = PatronForm.Of(
            values,
            sent.Kept ?? kept,
            OwnerOf,
            all,
            await reading.PoliciesAsync(DistrictId, Gone),
            isNew: Patron is null,
            givesRights: Here.May(Need.DistrictAdministrator)
        );
        if (Patron is not null)
        {
            Form = Form.Opened(was, kept, sent.Meanwhile);
        }

        Form = Form.Refused(_problems);

        return Page();
    }
}
